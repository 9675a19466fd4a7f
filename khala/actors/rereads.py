"""Which tasks a leader wants read again: one bounded question at a time, whatever is asked meanwhile.

Pure, owned by the scheduler. While the store cannot answer, the core asks again at every tick; without
this, all of that would lie in the reader's inbox when the store is back.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

MOST_AT_ONCE = 200
"""Whole tasks are read, with up to 256 KiB of kept output each."""


class Rereads:
    """`within_s` is after how long a question without an answer is asked again."""

    def __init__(self, *, within_s: float) -> None:
        self._within_s = within_s
        self._wanted: dict[str, None] = {}
        self._asked: tuple[str, ...] = ()
        self._again_at = 0.0

    def want(self, task_ids: Iterable[str], *, repeated: bool) -> None:
        """Ask for these as well. A repeated wish is granted by the question under way; a new one is
        not, for what it wants to know may be younger."""
        under_way = set(self._asked) if repeated else ()
        self._wanted.update((task_id, None) for task_id in task_ids if task_id not in under_way)

    def next(self, now: float) -> tuple[str, ...]:
        """What to ask now; nothing while a question is under way, or just failed."""
        if now < self._again_at:
            return ()
        task_ids = tuple(dict.fromkeys((*self._asked, *islice(self._wanted, MOST_AT_ONCE))))[:MOST_AT_ONCE]
        for task_id in task_ids:
            self._wanted.pop(task_id, None)
        self._asked = task_ids
        self._again_at = now + self._within_s if task_ids else 0.0
        return task_ids

    def answered(self, asked: tuple[str, ...]) -> None:
        """A question was answered."""
        if asked == self._asked:
            self._asked, self._again_at = (), 0.0

    def failed(self, again_at: float) -> None:
        """The question under way has no answer: it is asked again at `again_at`, or with the next."""
        self._again_at = again_at
