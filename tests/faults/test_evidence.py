"""The order of commits as evidence: a write after the end, in no log, or of an older leader is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
from faults.oplog import TaskWritten, in_order
from history.checker import Checker
from history.records import EpochTaken, Record, Submitted, TaskChanged, TaskInserted
from history.violation import Violation

from khala.core.lifecycle import Assigned, Ended, transition
from khala.core.task import Epoch, ExitReason, OnDisconnect, Outcome, TaskControl

OLD, NEW = Epoch(5, 1), Epoch(5, 2)


def stored(guard: Epoch = OLD) -> list[Record]:
    """A task that was assigned and has ended, by its own story."""
    assigned, first = transition(
        TaskControl(), Assigned(executor="e1", incarnation="i1"), at=2.0, epoch=guard
    )
    outcome = Outcome(exit_reason=ExitReason.EXITED, succeeded=True, finished_at=3.0)
    ended, second = transition(assigned, Ended(outcome=outcome, started_at=2.0), at=3.0, epoch=guard)
    return [
        TaskInserted(1.0, "t", "key", 2, OnDisconnect.STOP, TaskControl()),
        TaskChanged(2.0, "t", guard, assigned, first),
        TaskChanged(3.0, "t", guard, ended, second),
    ]


COMMITTED = [EpochTaken(0.5, OLD, "j1"), *(TaskWritten(float(rev), "t", rev) for rev in (1, 2, 3))]


def test_changes_come_at_the_times_of_their_writes() -> None:
    """Never before they were decided, and in the order in which they were committed."""
    late = [*COMMITTED[:2], replace(COMMITTED[2], at=2.7), COMMITTED[3]]
    changes = [record for record in in_order(stored(), late) if isinstance(record, TaskChanged)]
    assert [change.at for change in changes] == [2.7, 3.0]


def test_a_write_after_the_end_is_found() -> None:
    """I6, whatever it changes."""
    with pytest.raises(Violation, match="I6"):
        in_order(stored(), [*COMMITTED, TaskWritten(4.0, "t", 0)])


def test_a_change_that_was_never_written_is_found() -> None:
    """I4: a story cannot say more than the log of writes."""
    with pytest.raises(Violation, match="I4"):
        in_order(stored(), COMMITTED[:-1])


def test_a_write_of_an_older_leader_is_found_though_it_was_decided_in_time() -> None:
    """I11: what counts is the order of commits."""
    checker = Checker()
    committed = [*COMMITTED[:2], EpochTaken(1.5, NEW, "j2"), *COMMITTED[2:]]
    history = sorted(in_order(stored(), committed), key=lambda record: record.at)
    with pytest.raises(Violation, match="I11"):
        for record in [Submitted(0.0, "t", "key"), *history]:
            checker.take(record)
