"""Judges a history, record by record: the invariants of reliability.md, section 2.

Feed it records in the order in which they happened; it raises a Violation at the first that cannot be.
`tasks` looks at what is stored and acknowledged, `executions` at what executors do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from history import records
from history.executions import ExecutionHistories
from history.tasks import TaskHistories


class Checker:
    """One history's judge. `margin_s` is the clock margin that I10 allows, in seconds."""

    def __init__(self, *, margin_s: float = 0.0) -> None:
        self.tasks = TaskHistories()
        self.executions = ExecutionHistories(margin_s=margin_s)
        tasks, executions = self.tasks, self.executions
        self._judges: dict[type, tuple[Callable[[Any], None], ...]] = {
            records.Submitted: (tasks.submit_began,),
            records.SubmitAcknowledged: (tasks.submit_acknowledged,),
            records.CancelAcknowledged: (tasks.cancel_acknowledged,),
            records.TaskInserted: (tasks.inserted, executions.inserted),
            records.TaskChanged: (tasks.changed, executions.changed),
            records.EpochTaken: (tasks.epoch_taken,),
            records.ExecutorOffered: (executions.offered,),
            records.EpochAnswered: (executions.epoch_answered,),
            records.AssignmentReceived: (executions.assignment_received,),
            records.Journalled: (lambda line: executions.journalled(line.executor, line.record),),
            records.ProcessBegan: (executions.began,),
            records.ProcessEnded: (executions.over,),
            records.OutputSettled: (executions.output_settled,),
        }

    def take(self, record: records.Record) -> None:
        """Judge one more record."""
        for judge in self._judges[type(record)]:
            judge(record)

    def at_rest(self, counts: Mapping[str, int]) -> None:
        """Judge the end: faults are healed, nothing is running; `counts` is the store's own sum."""
        self.tasks.at_rest(counts)


def check(history: Iterable[records.Record], counts: Mapping[str, int], *, margin_s: float = 0.0) -> None:
    """Judge a whole history; raises Violation."""
    checker = Checker(margin_s=margin_s)
    for record in history:
        checker.take(record)
    checker.at_rest(counts)
