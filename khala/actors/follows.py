"""Who waits for more of which output stream. Pure, owned by the followers' actor.

A wait ends by more output, by a change of its task, or when its time is up. Every caller comes out
exactly once. Times are CLOCK_BOOTTIME, in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from khala.bus.envelope import Envelope
from khala.core.output import StreamKey

FOLLOWS_MOST = 10_000
CHECKED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Follow:
    """One caller, who has seen `size` bytes of the stream; attempt 0 waits for a first attempt."""

    envelope: Envelope
    key: StreamKey
    size: int
    until: float


class Follows:
    """All waits of a judicator."""

    def __init__(self) -> None:
        self._by_number: dict[int, Follow] = {}
        self._by_key: dict[StreamKey, set[int]] = {}
        self._by_task: dict[str, set[StreamKey]] = {}
        self._last = 0
        self._last_checked = 0

    def __len__(self) -> int:
        return len(self._by_number)

    def begin(self, follow: Follow) -> bool:
        """Let a caller wait; False when there are too many."""
        if len(self._by_number) >= FOLLOWS_MOST:
            return False
        self._last += 1
        self._by_number[self._last] = follow
        self._by_key.setdefault(follow.key, set()).add(self._last)
        self._by_task.setdefault(follow.key.task_id, set()).add(follow.key)
        return True

    def grown(self, keys: Iterable[StreamKey]) -> list[Follow]:
        """These streams have more: whose wait is over."""
        woken = dict.fromkeys(each for key in keys for each in (key, replace(key, attempt=0)))
        return [self._end(number) for key in woken for number in sorted(self._by_key.get(key, ()))]

    def changed(self, task_ids: Iterable[str]) -> list[Follow]:
        """These tasks changed: whose wait is over."""
        keys = [key for task_id in task_ids for key in sorted(self._by_task.get(task_id, ()))]
        return [self._end(number) for key in keys for number in sorted(self._by_key[key])]

    def expired(self, now: float) -> list[Follow]:
        """Whose time is up."""
        late = [number for number, follow in self._by_number.items() if follow.until <= now]
        return [self._end(number) for number in late]

    def end_all(self) -> list[Follow]:
        """All who wait, who wait no more."""
        return self.expired(float("inf"))

    def to_check(self) -> list[Follow]:
        """Some of the waits, in turn: what was stored elsewhere, and what a lost message said, shows only
        when one looks."""
        later = [number for number in self._by_number if number > self._last_checked]
        numbers = (later or list(self._by_number))[:CHECKED_AT_ONCE]
        self._last_checked = numbers[-1] if numbers else 0
        return [self._by_number[number] for number in numbers]

    def _end(self, number: int) -> Follow:
        follow = self._by_number.pop(number)
        waiting = self._by_key[follow.key]
        waiting.discard(number)
        if not waiting:
            del self._by_key[follow.key]
            keys = self._by_task[follow.key.task_id]
            keys.discard(follow.key)
            if not keys:
                del self._by_task[follow.key.task_id]
        return follow
