"""The scheduler against reports and membership: absence, losses, incarnations, recalls, leaders."""

from __future__ import annotations

import pytest
from core.leader_bench import CRASHED, LEASE_S, LeaderBench

from khala.core.messages import (
    AbortAttempt,
    AssignTask,
    AttemptView,
    LeaderAnnounced,
    OutcomeSettled,
    RecallAttempt,
)
from khala.core.task import Epoch, ExitReason, State


def view(task_id: str, attempt: int = 1, status: str = "held", incarnation: str = "i1") -> AttemptView:
    """One line of a report."""
    return AttemptView(task_id=task_id, attempt=attempt, status=status, incarnation=incarnation)


@pytest.fixture
def bench() -> LeaderBench:
    """A leader with one executor of one slot, that was given `t`."""
    bench = LeaderBench()
    bench.join("e1")
    bench.submit("t")
    assert bench.assigned_to() == {"t": "e1"}
    return bench


# --- absent is not lost (P9) ---------------------------------------------------------------------


def test_in_flight_is_not_missing(bench: LeaderBench) -> None:
    """A report that was built before the assignment came says nothing about it."""
    bench.report("e1", highest_sequence=0)
    bench.report("e1", highest_epoch=Epoch(1, 0), highest_sequence=99)
    assert (bench.task("t").state, bench.task("t").attempt) == (State.ASSIGNED, 1)


def test_absent_at_or_below_the_highest_is_returned(bench: LeaderBench) -> None:
    """It refuses that number for good: the task waits again, not counted as started."""
    bench.report("e1", highest_sequence=1)
    assert (bench.task("t").attempt, bench.task("t").starts) == (2, 0)
    assert bench.assigned_to() == {"t": "e1"}


def test_a_running_one_that_is_absent_is_lost(bench: LeaderBench) -> None:
    """It ran and nobody knows how it ended: a start and a loss."""
    bench.started("t")
    bench.report("e1", highest_sequence=1)
    assert (bench.task("t").attempt, bench.task("t").starts, bench.task("t").losses) == (2, 1, 1)


def test_shown_is_confirmed(bench: LeaderBench) -> None:
    """What a report shows is not sent again; what none shows is, with the same number."""
    bench.later(1.6)
    (again,) = bench.take_sent(AssignTask)
    assert (again.sequence, again.attempt) == (1, 1)
    bench.report("e1", "i1", view("t"), highest_sequence=1)
    bench.later(5.0, ticks=5)
    assert not bench.take_sent(AssignTask)


def test_an_older_number_is_ignored(bench: LeaderBench) -> None:
    """Reports that overtook each other: only the newest counts."""
    bench.report("e1", "i1", view("t"), highest_sequence=1, number=50)
    bench.report("e1", "i1", highest_sequence=1, number=49)
    assert bench.task("t").attempt == 1


def test_a_report_of_another_epoch_says_nothing(bench: LeaderBench) -> None:
    """It is asked to answer this leader first."""
    bench.later(1.1)
    bench.sent.clear()
    bench.report("e1", epoch=Epoch(1, 0), highest_epoch=Epoch(1, 0), highest_sequence=9)
    assert bench.task("t").attempt == 1
    assert len(bench.take_sent(LeaderAnnounced)) == 1


def test_a_report_of_another_process_is_ignored(bench: LeaderBench) -> None:
    """Membership decides which process is the executor; a dead one's late report does not count."""
    bench.report("e1", "i0", highest_sequence=9)
    bench.report("e9", "i1", highest_sequence=9)
    assert bench.task("t").attempt == 1


def test_what_an_executor_should_not_hold_is_ended(bench: LeaderBench) -> None:
    """Older attempts, finished tasks and unknown ones are aborted as superseded; ended ones are not."""
    bench.report("e1", highest_sequence=1)
    bench.submit("done")
    bench.cancel("done")
    bench.returned("done")
    bench.sent.clear()
    views = (view("t", 2), view("t", 1, "started"), view("done"), view("never"), view("t", 1, "finished"))
    bench.report("e1", "i1", *views, highest_sequence=1)
    aborts = {(m.task_id, m.attempt) for m in bench.take_sent(AbortAttempt) if m.superseded}
    assert aborts == {("t", 1), ("done", 1), ("never", 1)}


def test_a_view_ahead_of_the_read_is_left_alone(bench: LeaderBench) -> None:
    """An attempt that this leader has not heard of is read once a report, neither ended nor asked on."""
    bench.report("e1", "i1", view("t", 7, "started"), highest_sequence=0)
    assert not bench.take_sent(AbortAttempt)
    assert not bench.scheduler.ledger.questions


# --- losing executors (P10) ----------------------------------------------------------------------


def test_a_lost_executor_gives_its_tasks_away_after_the_grace() -> None:
    """A new leader waits one lease for executors that it has never seen; later ones go at once."""
    first = LeaderBench()
    first.join("e1")
    first.submit("a")
    leader = LeaderBench(first.store)
    leader.do(leader.scheduler.rebuild(leader.store.scan_active("", 100), leader.now()))
    leader.join("e2")
    leader.later(LEASE_S - 0.1, ticks=10)
    assert leader.task("a").executor == "e1"
    leader.later(0.2)
    assert (leader.task("a").executor, leader.task("a").attempt, leader.task("a").losses) == ("e2", 2, 1)
    leader.see()
    leader.later(0.1)
    assert leader.task("a").state == State.PENDING
    leader.later(0.1)
    assert not leader.scheduler.ledger.executors


def test_a_gap_begins_the_grace_anew(bench: LeaderBench) -> None:
    """After a gap of coordination nobody is lost for one lease, and who comes back keeps its tasks."""
    bench.later(20.0)
    bench.see(gap=True)
    bench.later(LEASE_S - 0.1, ticks=5)
    assert bench.task("t").executor == "e1"
    bench.see(e1="i1")
    bench.later(1.0)
    assert bench.task("t").attempt == 1


def test_a_lost_single_attempt() -> None:
    """max_attempts 1: not cleared, it waits again; cleared, it is never run twice."""
    bench = LeaderBench()
    bench.join("e1", slots=2)
    bench.submit("waits", max_attempts=1)
    bench.submit("runs", max_attempts=1)
    bench.asks("runs")
    bench.later(20.0)
    bench.see()
    bench.later(0.1)
    assert (bench.task("waits").state, bench.task("waits").starts) == (State.PENDING, 0)
    assert (bench.task("runs").state, bench.task("runs").exit_reason) == (
        State.FAILED,
        ExitReason.EXECUTOR_LOST,
    )


def test_an_executor_lost_while_an_assignment_is_saved() -> None:
    """Its room stays counted until the answer: neither lost nor given back twice."""
    bench = LeaderBench()
    bench.join("e1")
    bench.later(20.0)
    bench.hold = True
    bench.submit("t")
    bench.see()
    bench.later(0.1)
    bench.see(e1="i1")
    bench.answer()
    assert bench.scheduler.ledger.executors["e1"].room.taken_slots == 1


# --- a new incarnation ---------------------------------------------------------------------------


def test_a_new_process_gives_up_what_its_journal_does_not_show() -> None:
    """Not started: waits again, uncounted. Running: a start and a loss. Ended: its end is awaited."""
    bench = LeaderBench()
    bench.join("e1", slots=3)
    for task_id in ("held", "ran", "ended"):
        bench.submit(task_id)
    bench.started("ran")
    bench.see(e1="i2")
    bench.later(3.0)
    assert bench.task("held").attempt == 1
    bench.report("e1", "i2", view("ended", 1, "finished", "i1"))
    assert (bench.task("held").starts, bench.task("held").losses) == (0, 0)
    assert (bench.task("ran").starts, bench.task("ran").losses) == (1, 1)
    assert bench.task("ended").attempt == 1
    bench.finished("ended", incarnation="i1", outcome=CRASHED)
    assert (bench.task("ended").starts, bench.task("ended").losses) == (1, 1)
    assert OutcomeSettled(task_id="ended", attempt=1, superseded=True) in bench.take_sent(OutcomeSettled)


def test_a_new_process_gets_numbers_from_one() -> None:
    """Numbers count within an incarnation, and go on above what the executor has seen."""
    bench = LeaderBench()
    bench.join("e1", slots=9)
    for n in range(3):
        bench.submit(f"a{n}")
    assert [order.sequence for order in bench.take_sent(AssignTask)] == [1, 2, 3]
    bench.see(e1="i2")
    bench.report("e1", "i2", slots=9)
    assert sorted(order.sequence for order in bench.take_sent(AssignTask)) == [1, 2, 3]
    bench.report("e1", "i2", highest_sequence=1 << 20, slots=9)
    assert min(order.sequence for order in bench.take_sent(AssignTask)) == (1 << 20) + 1


# --- recalls, resends, draining ------------------------------------------------------------------


def test_recall_for_an_idle_executor_within_a_second() -> None:
    """What waits ahead at a busy executor moves to one that became idle."""
    bench = LeaderBench()
    bench.join("e1")
    bench.submit("runs")
    bench.submit("waits")
    bench.started("runs")
    assert bench.assigned_to() == {"runs": "e1", "waits": "e1"}
    bench.join("e2")
    bench.sent.clear()
    bench.later(1.0, ticks=4)
    (recall,) = bench.take_sent(RecallAttempt)
    assert recall.task_id == "waits"
    bench.returned("waits")
    assert bench.assigned_to() == {"waits": "e2"}


def test_what_fits_nowhere_keeps_no_executor_idle() -> None:
    """A task that waits for an executor of another kind is no reason to leave others where they wait."""
    bench = LeaderBench()
    bench.join("e1")
    bench.submit("fits nowhere", constraints={"gpu": "yes"})
    bench.submit("runs")
    bench.submit("waits")
    bench.started("runs")
    bench.join("e2")
    bench.sent.clear()
    bench.later(1.0, ticks=4)
    assert [recall.task_id for recall in bench.take_sent(RecallAttempt)] == ["waits"]


def test_no_recall_without_need() -> None:
    """Not when nobody is idle, when it fits nowhere else, or while others wait in the queue."""
    bench = LeaderBench()
    bench.join("e1", cpus=4.0)
    bench.submit("runs")
    bench.submit("waits")
    bench.later(1.0, ticks=4)
    bench.join("e2", cpus=0.5)
    bench.later(1.0, ticks=4)
    assert not bench.take_sent(RecallAttempt)


def test_a_draining_executor_gets_nothing(bench: LeaderBench) -> None:
    """Its report closes its room; what it hands back goes elsewhere."""
    bench.report("e1", "i1", highest_sequence=1, draining=True)
    assert bench.task("t").state == State.PENDING
    bench.join("e2")
    assert bench.assigned_to() == {"t": "e2"}


def test_suspects_are_not_sent_ahead() -> None:
    """A task that lost an executor waits for a slot of its own."""
    bench = LeaderBench()
    bench.join("e1")
    bench.submit("t")
    bench.finished("t", outcome=CRASHED)
    bench.submit("other")
    bench.submit("second")
    bench.finished("second", outcome=CRASHED)
    assert bench.task("t").state == State.ASSIGNED
    assert bench.task("second").state == State.PENDING
    bench.finished("t", attempt=2)
    bench.finished("other")
    assert bench.task("second").state == State.ASSIGNED


# --- a new leader --------------------------------------------------------------------------------


def test_a_new_leader_takes_over_what_runs() -> None:
    """It announces itself, waits for the report, and ends what an executor says it knows no more."""
    first = LeaderBench()
    first.join("e1", slots=2)
    first.submit("runs")
    first.submit("never-arrived")
    first.started("runs")
    leader = LeaderBench(first.store)
    leader.do(leader.scheduler.rebuild(leader.store.scan_active("", 100), leader.now()))
    leader.see(e1="i1")
    assert leader.take_sent(LeaderAnnounced) == [LeaderAnnounced(epoch=leader.epoch, leader="j1")]
    leader.later(1.1)
    assert len(leader.take_sent(LeaderAnnounced)) == 1
    leader.report("e1", "i1", view("runs", 1, "started"), highest_epoch=first.epoch, highest_sequence=1)
    assert leader.task("runs").attempt == 1
    assert leader.task("never-arrived").attempt == 2
    leader.finished("runs")
    assert leader.task("runs").state == State.SUCCEEDED


def test_the_rescan_finds_what_was_not_hinted() -> None:
    """P3: pending tasks and cancel requests alike; and an old scan changes nothing."""
    bench = LeaderBench()
    bench.join("e1")
    bench.submit("t", hinted=False)
    assert not bench.assigned_to()
    old = bench.queued("t")
    bench.rescan()
    assert bench.assigned_to() == {"t": "e1"}
    bench.finished("t")
    bench.do(bench.scheduler.rebuild([old], bench.now()))
    assert bench.task("t").state == State.SUCCEEDED
    assert "t" not in bench.scheduler.ledger.entries


def test_executors_as_seen(bench: LeaderBench) -> None:
    """What /executors shows."""
    bench.started("t")
    bench.report("e1", "i1", view("t", 1, "started"), highest_sequence=1, slots=3, load=0.5)
    (seen,) = bench.scheduler.executors()
    assert (seen.executor, seen.slots, seen.assigned, seen.running, seen.load) == ("e1", 3, 1, ("t",), 0.5)
    bench.see()
    assert bench.scheduler.executors() == []
