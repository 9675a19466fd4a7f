"""From the evidence of one run to a history that the checker can read, and to numbers. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from faults.oplog import TaskWritten, in_order
from faults.recording import Recorder, Struck
from faults.stored import executors_of, told
from faults.witness import Run
from faults.workload import RETRYABLE
from history.records import (
    CancelAcknowledged,
    EpochAnswered,
    EpochTaken,
    Journalled,
    OutputSettled,
    OutputStored,
    ProcessBegan,
    ProcessEnded,
    Record,
    SubmitAcknowledged,
    Submitted,
    TaskChanged,
    TaskRead,
)
from history.violation import Violation

from khala.core.journal import Fact

Task = Mapping[str, Any]
NEEDED = (
    CancelAcknowledged, EpochAnswered, EpochTaken, Journalled, OutputSettled, OutputStored, ProcessBegan,
    SubmitAcknowledged, TaskChanged, TaskRead,
)  # fmt: skip
"""Without each of these there would be nothing to judge."""


@dataclass(slots=True)
class Verdict:
    """A clean history in numbers. `struck` counts, per kind of fault, those that hit a running attempt."""

    tasks: int = 0
    retryable: int = 0
    retryable_succeeded: int = 0
    second_attempts: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    evidence: Counter[str] = field(default_factory=Counter)
    longest_gap_s: float = 0.0

    def require_work(self) -> None:
        """An idle system must not pass: there is evidence of all, and what may succeed did, 99 of 100."""
        missing = [kind.__name__ for kind in NEEDED if not self.evidence[kind.__name__]]
        assert not missing, f"there is no evidence of {missing}"
        least = 0.99 * self.retryable
        assert self.retryable_succeeded >= least, f"{self.retryable_succeeded} of {self.retryable} succeeded"


def assemble(
    tasks: Sequence[Task],
    recorder: Recorder,
    executors: Sequence[Record],
    runs: Sequence[Run],
    committed: Sequence[TaskWritten | EpochTaken],
) -> list[Record]:
    """All that is known, in the order of its times; `executors` is what their journals and offers say,
    `committed` the order in which the store was written.

    In it, and within one journal, times never go back; so a stable sort keeps each order.
    """
    said, keys = recorder.snapshot()
    stored = in_order([record for task in tasks for record in told(task)], committed)
    submitted = [
        Submitted(keys[task["name"]], task["id"], task["name"]) for task in tasks if task["name"] in keys
    ]
    processes = _processes(runs, {task["id"]: task for task in tasks})
    records = [*submitted, *executors, *processes, *stored, *said]
    return sorted(records, key=lambda record: record.at)


def verdict_of(tasks: Sequence[Task], history: Sequence[Record], recorder: Recorder) -> Verdict:
    """A history in numbers."""
    mine = [t for t in tasks if t["labels"].get("kind") in RETRYABLE and not t["cancel_requested"]]
    acknowledged = [call.ended for call in recorder.calls if call.verb == "POST" and call.outcome == "ok"]
    return Verdict(
        tasks=len(tasks),
        retryable=len(mine),
        retryable_succeeded=sum(task["state"] == "succeeded" for task in mine),
        second_attempts=sum(task["attempt"] > 1 for task in tasks),
        calls=Counter(f"{call.verb} {call.outcome}" for call in recorder.calls),
        faults=Counter(fault.kind for fault in recorder.faults),
        struck=Counter(fault.kind for fault in recorder.faults if _hit_something(fault, history)),
        evidence=Counter(type(record).__name__ for record in history),
        longest_gap_s=max((after - before for before, after in pairwise(sorted(acknowledged))), default=0.0),
    )


def _processes(runs: Sequence[Run], tasks: Mapping[str, Task]) -> Iterator[Record]:
    for run in runs:
        task = tasks.get(run.task_id)
        if task is None:
            raise Violation("I2", f"{run} ran and is not stored")
        executor = executors_of(task).get(run.attempt, "")
        room = task["resources"]
        yield ProcessBegan(run.began, executor, run.task_id, run.attempt, room["cpus"], room["memory"])
        yield ProcessEnded(run.ended, executor, run.task_id, run.attempt)


def _hit_something(fault: Struck, history: Sequence[Record]) -> bool:
    """Did an attempt run, by the journals, on one of the fault's executors when it struck?"""
    running: set[tuple[str, int]] = set()
    for record in history:
        if record.at > fault.at:
            break
        if isinstance(record, Journalled) and record.executor in fault.executors:
            key = (record.record.task_id, record.record.attempt)
            if record.record.fact == Fact.START:
                running.add(key)
            elif record.record.fact == Fact.END:
                running.discard(key)
    return bool(running)
