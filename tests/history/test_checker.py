"""The checker itself: each planted wrong must be caught, by its invariant, and a good history passes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from history.checker import check
from history.records import (
    AssignmentReceived,
    CancelAcknowledged,
    EpochAnswered,
    EpochTaken,
    ExecutorOffered,
    Healed,
    Journalled,
    OutputProduced,
    OutputSettled,
    OutputStored,
    ProcessBegan,
    ProcessEnded,
    Record,
    Remained,
    SubmitAcknowledged,
    Submitted,
    TaskChanged,
    TaskInserted,
    TaskRead,
)
from history.violation import Violation

from khala.core.journal import Fact, JournalRecord
from khala.core.lifecycle import Assigned, Ended, Occurrence, Returned, Started, transition
from khala.core.output import StreamKey
from khala.core.task import (
    Epoch,
    ExitReason,
    OnDisconnect,
    Outcome,
    PhaseResult,
    Result,
    State,
    StreamCapture,
    TaskControl,
)

OLD, NEW = Epoch(1, 1), Epoch(1, 2)
ALLOWED = {"grace_s": 1.0, "bound_s": 2.0}
GOOD = Outcome(exit_reason=ExitReason.EXITED, succeeded=True, finished_at=9.0)


def changes(*steps: Occurrence, guard: Epoch = NEW, task_id: str = "t") -> list[TaskChanged]:
    """A task's changes from its insert on."""
    control, made = TaskControl(), []
    for number, step in enumerate(steps):
        control, event = transition(control, step, at=float(number), epoch=guard)
        made.append(TaskChanged(float(number), task_id, guard, control, event))
    return made


def journalled(fact: Fact, attempt: int = 1, executor: str = "e1") -> Journalled:
    """A record of the task's attempt."""
    return Journalled(5.0, executor, JournalRecord(fact=fact, task_id="t", attempt=attempt))


def good() -> list[Record]:
    """One task from its submit to its end (indices 0 to 14), and how it was read."""
    assigned, started, ended = changes(
        Assigned(executor="e1", incarnation="i1"), Started(at=5.0), Ended(outcome=GOOD, started_at=5.0)
    )
    return [
        EpochTaken(0.0, OLD, "j1"),
        EpochTaken(0.0, NEW, "j2"),
        ExecutorOffered(0.0, "e1", 1, 1.0, 0),
        Submitted(0.0, "t", "key"),
        TaskInserted(1.0, "t", "key", 2, OnDisconnect.STOP, TaskControl(), wall_time_s=2.0),
        SubmitAcknowledged(1.0, "t", "key"),
        EpochAnswered(1.0, "e1", NEW),
        assigned,
        AssignmentReceived(2.0, "e1", "t", 1, NEW),
        journalled(Fact.START),
        ProcessBegan(5.0, "e1", "t", 1, 1.0, 0),
        started,
        ProcessEnded(8.0, "e1", "t", 1),
        journalled(Fact.END),
        ended,
        OutputProduced(8.0, "t", 1, "execute.stdout", 9, "abc"),
        OutputStored(8.0, "t", 1, "execute.stdout", 9, "abc", 4, True),
        TaskRead(8.2, 8.1, "g1", "t", 4, State.SUCCEEDED),
        TaskRead(8.4, 8.0, "g1", "t", 2, State.ASSIGNED),
        TaskRead(8.5, 8.3, "g2", "t", 3, State.RUNNING),
        Healed(1.5),
    ]


def lost_task(history: list[Record]) -> None:
    del history[4]


def double_result(history: list[Record]) -> None:
    history.append(history[14])


def stale_epoch_write(history: list[Record]) -> None:
    history[7:8] = changes(Assigned(executor="e1", incarnation="i1"), guard=OLD)


def reused_attempt(history: list[Record]) -> None:
    again = Assigned(executor="e1", incarnation="i1")
    first, second, third = changes(again, Returned(), again)
    history[7:8] = [first, second, replace(third, control=replace(third.control, attempt=1))]


def overcommitted_slot(history: list[Record]) -> None:
    history[2] = ExecutorOffered(0.0, "e1", 1, 0.5, 0)


def second_start(history: list[Record]) -> None:
    history.insert(10, journalled(Fact.START, executor="e2"))


def too_many_starts(history: list[Record]) -> None:
    history[10:10] = [journalled(Fact.START, 2), journalled(Fact.START, 3)]


def returned_though_started(history: list[Record]) -> None:
    history[11:] = changes(Assigned(executor="e1", incarnation="i1"), Returned())[1:]


def result_without_end(history: list[Record]) -> None:
    del history[13]


def runs_before_the_journal(history: list[Record]) -> None:
    del history[9]


def epoch_taken_twice(history: list[Record]) -> None:
    history.insert(2, EpochTaken(0.0, NEW, "j3"))


def older_epoch_obeyed(history: list[Record]) -> None:
    history[8] = AssignmentReceived(2.0, "e1", "t", 1, OLD)


def older_epoch_answered(history: list[Record]) -> None:
    history.append(EpochAnswered(9.0, "e1", OLD))


def cancel_ignored(history: list[Record]) -> None:
    history.insert(8, CancelAcknowledged(2.0, "t"))


def gap_in_revs(history: list[Record]) -> None:
    del history[11]


def two_tasks_of_a_key(history: list[Record]) -> None:
    history.insert(5, Submitted(1.0, "u", "key"))
    history.insert(6, TaskInserted(1.0, "u", "key", 2, OnDisconnect.STOP, TaskControl()))


def nobodys_task(history: list[Record]) -> None:
    del history[3]


def overlap(history: list[Record]) -> None:
    history[11:11] = [
        ExecutorOffered(5.0, "e2", 1, 1.0, 0),
        journalled(Fact.START, 2, "e2"),
        ProcessBegan(6.0, "e2", "t", 2, 1.0, 0),
    ]


DATA = b"what it wrote"
KEY = StreamKey(task_id="t", attempt=1, phase="execute", stream="stdout")
WHOLE = StreamCapture(size=len(DATA), stored_bytes=len(DATA), sha256=hashlib.sha256(DATA).hexdigest())


def with_output(history: list[Record], said: StreamCapture = WHOLE, stored: bytes = DATA) -> None:
    part = PhaseResult(exit_reason=ExitReason.EXITED, stdout=WHOLE)
    end = JournalRecord(
        fact=Fact.END, task_id="t", attempt=1, outcome=replace(GOOD, result=Result(execute=part))
    )
    history[13] = Journalled(5.0, "e1", end)
    history.append(OutputSettled(9.0, KEY, said, stored))


def output_after_outcome(history: list[Record]) -> None:
    with_output(history, stored=DATA[:-1])


def other_output(history: list[Record]) -> None:
    with_output(history, stored=DATA.upper())


def output_not_journalled(history: list[Record]) -> None:
    history.append(OutputSettled(9.0, KEY, WHOLE, DATA))


def silently_cut(history: list[Record]) -> None:
    with_output(history, replace(WHOLE, stored_bytes=4, sha256=""), DATA)


def never_ends(history: list[Record]) -> None:
    del history[14:]


def read_backwards(history: list[Record]) -> None:
    history.append(TaskRead(8.9, 8.3, "g1", "t", 3, State.RUNNING))


def read_nothing(history: list[Record]) -> None:
    history.append(TaskRead(8.9, 8.6, "g2", "t", 0, State.PENDING))


def another_end_was_read(history: list[Record]) -> None:
    history[17] = TaskRead(8.2, 8.1, "g1", "t", 4, State.FAILED)


def two_ends_were_read(history: list[Record]) -> None:
    history.append(TaskRead(8.9, 8.6, "g2", "t", 5, State.FAILED))


def other_output_stored(history: list[Record]) -> None:
    history[16] = OutputStored(8.0, "t", 1, "execute.stdout", 9, "abd", 4, True)


def output_from_nowhere(history: list[Record]) -> None:
    del history[15]


def cut_in_silence(history: list[Record]) -> None:
    history[16] = OutputStored(8.0, "t", 1, "execute.stdout", 9, "abc", 4, False)


def runs_too_long(history: list[Record]) -> None:
    history[12] = ProcessEnded(8.1, "e1", "t", 1)


def something_is_left(history: list[Record]) -> None:
    history.append(Remained(9.0, "process 4711"))


def ends_too_late(history: list[Record]) -> None:
    ended = history[14]
    assert isinstance(ended, TaskChanged)
    history[14] = replace(ended, at=3.6)


PLANTED = {
    lost_task: "I1",
    double_result: "I5",
    stale_epoch_write: "I11",
    reused_attempt: "I8",
    overcommitted_slot: "I13",
    second_start: "I9",
    too_many_starts: "I9",
    returned_though_started: "I9",
    result_without_end: "I7",
    runs_before_the_journal: "I7",
    epoch_taken_twice: "I11",
    older_epoch_obeyed: "I12",
    older_epoch_answered: "I12",
    cancel_ignored: "I14",
    gap_in_revs: "I4",
    two_tasks_of_a_key: "I3",
    nobodys_task: "I2",
    overlap: "I10",
    output_after_outcome: "I17",
    other_output: "I17",
    output_not_journalled: "I17",
    silently_cut: "I17",
    never_ends: "I20",
    read_backwards: "I15",
    read_nothing: "I15",
    another_end_was_read: "I6",
    two_ends_were_read: "I6",
    other_output_stored: "I17",
    output_from_nowhere: "I17",
    cut_in_silence: "I17",
    runs_too_long: "I18",
    something_is_left: "I19",
    ends_too_late: "I20",
}


def test_a_good_history_passes() -> None:
    """Nothing is wrong with it."""
    check(good(), {"succeeded": 1}, **ALLOWED)


@pytest.mark.parametrize(
    "said", [WHOLE, replace(WHOLE, stored_bytes=4, sha256="", truncated=True)], ids=["whole", "cut"]
)
def test_good_output_passes(said: StreamCapture) -> None:
    """Whole, or honestly less."""
    history = good()
    with_output(history, said)
    check(history, {"succeeded": 1}, **ALLOWED)


@pytest.mark.parametrize(
    ("plant", "invariant"), PLANTED.items(), ids=lambda each: getattr(each, "__name__", "")
)
def test_a_planted_wrong_is_caught(plant: Callable[[list[Record]], None], invariant: str) -> None:
    """By the invariant that it breaks."""
    history = good()
    plant(history)
    with pytest.raises(Violation) as caught:
        check(history, {"succeeded": 1} if plant is not never_ends else {"running": 1}, **ALLOWED)
    assert caught.value.invariant == invariant


def test_the_sum_must_agree() -> None:
    """I16."""
    with pytest.raises(Violation, match="I16"):
        check(good(), {"succeeded": 2}, **ALLOWED)


def test_the_margin_of_an_overlap() -> None:
    """I10 allows what the clocks cannot tell."""
    history = good()
    overlap(history)
    try:
        check(history, {"succeeded": 1}, margin_s=3.0, **ALLOWED)
    except Violation as violation:
        assert violation.invariant != "I10"
