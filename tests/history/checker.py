"""Judges a history, record by record: the invariants of reliability.md, section 2.

Feed it records in the order in which they happened; it raises a Violation at the first that cannot be.
`tasks` looks at what is stored and acknowledged, `executions` at what executors do, `readings` at what
clients are shown, `resting` at what is left when all is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from history import records
from history.executions import ExecutionHistories
from history.readings import Readings
from history.resting import Resting
from history.tasks import TaskHistories


class Checker:
    """One history's judge. In seconds: `margin_s` is the clock margin that I10 allows, `grace_s` what I18
    allows beyond a wall limit, `bound_s` how long after healing tasks may go on (I20)."""

    def __init__(self, *, margin_s: float = 0.0, grace_s: float = 0.0, bound_s: float = float("inf")) -> None:
        self.tasks = TaskHistories()
        self.executions = ExecutionHistories(margin_s=margin_s, grace_s=grace_s)
        self.readings = Readings()
        self.resting = Resting(bound_s=bound_s)
        tasks, executions, resting = self.tasks, self.executions, self.resting
        self._judges: dict[type, tuple[Callable[[Any], None], ...]] = {
            records.Submitted: (tasks.submit_began,),
            records.SubmitAcknowledged: (tasks.submit_acknowledged,),
            records.CancelAcknowledged: (tasks.cancel_acknowledged,),
            records.TaskInserted: (tasks.inserted, executions.inserted, resting.inserted),
            records.TaskChanged: (tasks.changed, executions.changed, resting.changed),
            records.EpochTaken: (tasks.epoch_taken,),
            records.StoreRestored: (tasks.restored, executions.restored, resting.restored),
            records.ExecutorOffered: (executions.offered,),
            records.EpochAnswered: (executions.epoch_answered,),
            records.AssignmentReceived: (executions.assignment_received,),
            records.Journalled: (lambda line: executions.journalled(line.executor, line.record),),
            records.ProcessBegan: (executions.began,),
            records.ProcessEnded: (executions.over,),
            records.OutputSettled: (executions.output_settled,),
            records.TaskRead: (self.readings.read,),
            records.OutputProduced: (resting.output_produced,),
            records.OutputStored: (resting.output_stored,),
            records.Healed: (resting.healed,),
            records.Remained: (resting.remained,),
        }

    def take(self, record: records.Record) -> None:
        """Judge one more record."""
        for judge in self._judges[type(record)]:
            judge(record)

    def at_rest(self, counts: Mapping[str, int]) -> None:
        """Judge the end: faults are healed, nothing is running; `counts` is the store's own sum."""
        self.tasks.at_rest(counts)
        self.readings.at_rest(self.tasks.stored)
        self.resting.at_rest()


def check(history: Iterable[records.Record], counts: Mapping[str, int], **allowed: float) -> None:
    """Judge a whole history; raises Violation. `allowed` is what a Checker allows."""
    checker = Checker(**allowed)
    for record in history:
        checker.take(record)
    checker.at_rest(counts)
