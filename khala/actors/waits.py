"""The callers who wait for tasks to finish. Pure, owned by the front door.

A wait ends by the leader's hint, by what the store says when it begins, by a look at the store now and
then (a hint may be lost), or when its time is up. Every caller comes out exactly once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from khala.actors.messages import CheckFinished, FinishedChecked
from khala.bus.envelope import Envelope
from khala.core.commands import GetTasks
from khala.core.waiting import Waiters

WAIT_MOST_S = 240.0
"""Less than the bus gives a call, so that the answer is ours."""
WAITERS_MOST = 10_000
TASKS_MOST = 200_000
CHECKED_AT_ONCE = 500
CHECK_WITHIN_S = 15.0
NEW_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class _Caller:
    envelope: Envelope
    tasks: int


class Waits:
    """Times are CLOCK_BOOTTIME, in seconds."""

    def __init__(self) -> None:
        self._waiters = Waiters()
        self._tasks = 0
        self._round = 0
        self._answered = True
        self._check_by = 0.0
        self._last_number = 0
        self._new: OrderedDict[str, str] = OrderedDict()

    def begin(self, get: GetTasks, envelope: Envelope, now: float) -> bool:
        """Let a caller wait; False when there are too many."""
        if len(self._waiters) >= WAITERS_MOST or self._tasks + len(get.task_ids) > TASKS_MOST:
            return False
        caller = _Caller(envelope, len(get.task_ids))
        self._tasks += caller.tasks
        self._waiters.add(get.task_ids, now + min(get.wait_s, WAIT_MOST_S), caller)
        return True

    def created(self, tasks: Iterable[tuple[str, str]]) -> None:
        """These tasks (id, owner) were stored just now, and will be told of when they are finished."""
        self._new.update(tasks)
        while len(self._new) > NEW_REMEMBERED:
            self._new.popitem(last=False)

    def are_new(self, get: GetTasks) -> bool:
        """Is none of them finished, for all that is known here? Then the store need not be asked yet."""
        owners = [self._new.get(task_id) for task_id in get.task_ids]
        return all(owner is not None and get.owner in (None, owner) for owner in owners)

    def finished(self, task_ids: Iterable[str]) -> list[Envelope]:
        """These tasks are finished: the callers whose wait is thereby over."""
        task_ids = tuple(task_ids)
        for task_id in task_ids:
            self._new.pop(task_id, None)
        return self._over(self._waiters.finished(task_ids))

    def expired(self, now: float) -> list[Envelope]:
        """The callers whose time is up."""
        return self._over(self._waiters.expired(now))

    def checked(self, checked: FinishedChecked) -> list[Envelope]:
        """The answer to a CheckFinished: the callers whose wait is thereby over."""
        if checked.round == self._round:
            self._answered = True
        return self.finished(checked.task_ids)

    def check_again(self, now: float) -> CheckFinished | None:
        """What to look up now: some waits at a time in turn, and nothing while an answer is due."""
        if not len(self._waiters) or (not self._answered and now < self._check_by):
            return None
        unfinished = self._waiters.unfinished()
        later = [wait for wait in unfinished if wait[0] > self._last_number]
        task_ids: dict[str, None] = {}
        for number, missing in later or unfinished:
            if task_ids and len(task_ids) + len(missing) > CHECKED_AT_ONCE:
                break
            task_ids.update(dict.fromkeys(missing))
            self._last_number = number
        self._round += 1
        self._answered, self._check_by = False, now + CHECK_WITHIN_S
        return CheckFinished(tuple(task_ids), self._round)

    def end_all(self) -> list[Envelope]:
        """All who wait, who wait no more."""
        return self.expired(float("inf"))

    def _over(self, tokens: list[object]) -> list[Envelope]:
        callers = [token for token in tokens if isinstance(token, _Caller)]
        self._tasks -= sum(caller.tasks for caller in callers)
        return [caller.envelope for caller in callers]
