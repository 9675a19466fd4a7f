"""Who waits for which tasks to finish. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class Waiter:
    """One wait: the tasks that are not finished yet, and until when (CLOCK_BOOTTIME, seconds)."""

    number: int
    missing: set[str]
    until: float
    token: object


class Waiters:
    """All waits of a judicator, found by task and by deadline; `token` is the caller's own."""

    def __init__(self) -> None:
        self._by_number: dict[int, Waiter] = {}
        self._by_task: dict[str, set[int]] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._by_number)

    def add(self, task_ids: Iterable[str], until: float, token: object) -> int:
        """Begin a wait; returns its number."""
        self._last += 1
        waiter = Waiter(self._last, set(task_ids), until, token)
        self._by_number[waiter.number] = waiter
        for task_id in waiter.missing:
            self._by_task.setdefault(task_id, set()).add(waiter.number)
        return waiter.number

    def finished(self, task_ids: Iterable[str]) -> list[object]:
        """These tasks are finished: the tokens of the waits that are thereby over."""
        over = []
        for task_id in task_ids:
            for number in self._by_task.pop(task_id, ()):
                waiter = self._by_number[number]
                waiter.missing.discard(task_id)
                if not waiter.missing:
                    over.append(self._by_number.pop(number).token)
        return over

    def expired(self, now: float) -> list[object]:
        """The tokens of the waits whose time is up."""
        late = [waiter for waiter in self._by_number.values() if waiter.until <= now]
        for waiter in late:
            del self._by_number[waiter.number]
            for task_id in waiter.missing:
                numbers = self._by_task.get(task_id)
                if numbers is not None:
                    numbers.discard(waiter.number)
                    if not numbers:
                        del self._by_task[task_id]
        return [waiter.token for waiter in late]

    def unfinished(self) -> list[tuple[int, tuple[str, ...]]]:
        """Every wait with the tasks that it still misses."""
        return [(waiter.number, tuple(waiter.missing)) for waiter in self._by_number.values()]
