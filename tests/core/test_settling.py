"""The scheduler's flows around one attempt: start, outcome, cancel, gate, unknown and missed saves."""

from __future__ import annotations

import pytest
from core.leader_bench import CRASHED, LeaderBench

from khala.core.messages import (
    AbortAttempt,
    AssignTask,
    AttemptReturned,
    CancelsRequested,
    OutcomeSettled,
    QueuedTask,
    StartCleared,
)
from khala.core.task import Demand, Epoch, ExitReason, Phase, Resources, State, demand_of


@pytest.fixture
def bench() -> LeaderBench:
    """A leader with one executor of one slot."""
    bench = LeaderBench()
    bench.join("e1")
    bench.sent.clear()
    return bench


def test_the_whole_life(bench: LeaderBench) -> None:
    """Assigned, compiling, executing, succeeded; told to the executor and to waiters."""
    bench.submit("t")
    (order,) = bench.take_sent(AssignTask)
    assert (order.task_id, order.attempt, order.sequence, order.gated) == ("t", 1, 1, False)
    assert (order.epoch, order.incarnation) == (bench.epoch, "i1")
    bench.started("t", phase="compile")
    assert (bench.task("t").state, bench.task("t").phase) == (State.RUNNING, Phase.COMPILE)
    bench.started("t", phase="execute")
    bench.started("t", phase="compile")
    assert bench.task("t").phase == Phase.EXECUTE
    bench.finished("t")
    assert bench.task("t").state == State.SUCCEEDED
    assert bench.take_sent(OutcomeSettled) == [OutcomeSettled(task_id="t", attempt=1)]
    assert bench.settled == ["t"]
    kinds = [event.kind for event in bench.store.read(["t"])[0].events]
    assert kinds == ["assigned", "started", "phase_entered", "ended"]


def test_nothing_is_said_before_it_is_saved(bench: LeaderBench) -> None:
    """Neither the assignment nor the acknowledgement leaves while its save is under way."""
    bench.hold = True
    bench.submit("t")
    assert not bench.sent
    bench.answer()
    assert len(bench.take_sent(AssignTask)) == 1
    bench.hold = True
    bench.finished("t")
    assert not bench.sent
    bench.answer()
    assert len(bench.take_sent(OutcomeSettled)) == 1


def test_events_wait_for_the_save_under_way(bench: LeaderBench) -> None:
    """An end that comes while the start is saved is handled after it."""
    bench.submit("t")
    bench.hold = True
    bench.started("t")
    bench.finished("t")
    assert len(bench.saving) == 1
    bench.answer()
    assert bench.task("t").state == State.SUCCEEDED
    assert bench.task("t").starts == 1


def test_a_repeated_outcome_is_acknowledged_again(bench: LeaderBench) -> None:
    """By the winner's attempt as settled, by another as superseded; also by a later leader."""
    bench.submit("t")
    bench.finished("t")
    bench.sent.clear()
    bench.finished("t")
    assert bench.take_sent(OutcomeSettled) == [OutcomeSettled(task_id="t", attempt=1)]
    bench.finished("t", name="e2")
    assert bench.take_sent(OutcomeSettled) == [OutcomeSettled(task_id="t", attempt=1, superseded=True)]
    successor = LeaderBench(bench.store)
    successor.join("e1")
    successor.finished("t")
    assert successor.take_sent(OutcomeSettled) == [OutcomeSettled(task_id="t", attempt=1)]
    successor.finished("unheard-of")
    assert successor.take_sent(OutcomeSettled) == [
        OutcomeSettled(task_id="unheard-of", attempt=1, superseded=True)
    ]


def test_an_outcome_of_an_older_attempt_is_superseded(bench: LeaderBench) -> None:
    """The task went on; the loser is told so and changes nothing."""
    bench.submit("t")
    bench.returned("t")
    assert bench.task("t").attempt == 2
    rev = bench.task("t").rev
    bench.sent.clear()
    bench.finished("t", attempt=1)
    assert bench.take_sent(OutcomeSettled) == [OutcomeSettled(task_id="t", attempt=1, superseded=True)]
    assert bench.task("t").rev == rev


def test_a_question_older_than_its_read_is_not_answered() -> None:
    """A stopped leader whose read is old must not call a newer leader's attempt superseded (P2)."""
    bench = LeaderBench()
    bench.submit("t", hinted=False)
    old = bench.store.read(["t"])
    bench.blind = True
    bench.finished("t", attempt=1)
    newer = LeaderBench(bench.store)
    newer.join("e1")
    newer.rescan()
    assert newer.task("t").attempt == 1
    bench.do(bench.scheduler.tasks_read(["t"], old, bench.now()))
    assert not bench.take_sent(OutcomeSettled)


def test_a_crash_is_a_loss(bench: LeaderBench) -> None:
    """The executor's own word that it died while it ran: counted, queued again, the record forgotten."""
    bench.submit("t")
    bench.finished("t", outcome=CRASHED)
    control = bench.task("t")
    assert (control.starts, control.losses, control.state) == (1, 1, State.ASSIGNED)
    assert OutcomeSettled(task_id="t", attempt=1, superseded=True) in bench.take_sent(OutcomeSettled)


def test_poison_ends_after_five(bench: LeaderBench) -> None:
    """Five executors lost with it; a suspect is placed alone on the way."""
    bench.submit("t", max_attempts=100)
    for attempt in range(1, 6):
        bench.finished("t", attempt=attempt, outcome=CRASHED)
    assert bench.task("t").exit_reason == ExitReason.CRASH_LIMIT
    assert bench.scheduler.ledger.executors["e1"].room.suspects == 0


# --- cancel --------------------------------------------------------------------------------------


def test_cancel_of_a_waiting_task() -> None:
    """It ends at once, told to nobody but the waiters."""
    bench = LeaderBench()
    bench.submit("t")
    bench.cancel("t")
    assert bench.task("t").state == State.CANCELLED
    assert (bench.sent, bench.settled) == ([], ["t"])
    bench.join("e1")
    assert not bench.take_sent(AssignTask)


@pytest.mark.parametrize("runs", [False, True])
def test_cancel_of_an_attempt(bench: LeaderBench, runs: bool) -> None:
    """Its executor is told, again each second, until it ends; whatever the end, it is cancelled."""
    bench.submit("t")
    if runs:
        bench.started("t")
    bench.sent.clear()
    bench.cancel("t")
    assert [m.superseded for m in bench.take_sent(AbortAttempt)] == [False]
    bench.later(0.5)
    assert not bench.take_sent(AbortAttempt)
    bench.later(0.6)
    assert len(bench.take_sent(AbortAttempt)) == 1
    bench.finished("t") if runs else bench.returned("t")
    assert bench.task("t").state == State.CANCELLED
    assert not bench.take_sent(AbortAttempt)


def test_a_cancel_gives_back_all_that_its_task_took_up(bench: LeaderBench) -> None:
    """A version before makes the hint of a task without its specification: it must not change what is
    counted."""
    bench.submit("t", resources=Resources(cpus=4.0))
    bench.started("t")
    (task,) = bench.store.request_cancel(["t"], 1.0)
    bench.tell(CancelsRequested(tasks=(QueuedTask(task_id="t", control=task.control, demand=Demand()),)))
    bench.finished("t")
    room = bench.scheduler.ledger.executors["e1"].room
    assert (room.taken_slots, room.taken_cpus) == (0, 0.0)


def test_a_leader_may_first_hear_of_a_task_by_its_cancel(bench: LeaderBench) -> None:
    """The hint tells all that placement needs: what runs is counted as what it is."""
    bench.submit("t", resources=Resources(cpus=4.0))
    bench.started("t")
    successor = LeaderBench(bench.store)
    (task,) = bench.store.request_cancel(["t"], 1.0)
    hint = QueuedTask(task_id="t", control=task.control, demand=demand_of(task))
    successor.tell(CancelsRequested(tasks=(hint,)))
    room = successor.scheduler.ledger.executors["e1"].room
    assert (room.taken_slots, room.taken_cpus) == (1, 4.0)


@pytest.mark.parametrize("says", ["started", "finished", "returned", "asks"])
def test_what_another_generation_gave_counts_for_nothing(bench: LeaderBench, says: str) -> None:
    """A restored store uses the numbers of lost attempts anew: nothing said of those changes a task (P4)."""
    bench.submit("t")
    before = bench.task("t")
    lost = Epoch(bench.epoch.generation + 1, 7)
    bench.take_sent(AssignTask)
    getattr(bench, says)("t", epoch=lost)
    assert bench.task("t") == before
    settled = [OutcomeSettled(task_id="t", attempt=1, superseded=True, epoch=lost)]
    assert bench.take_sent(OutcomeSettled) == (settled if says == "finished" else [])
    bench.finished("t", epoch=bench.epoch)
    assert bench.task("t").state == State.SUCCEEDED


@pytest.mark.parametrize("unknown", [False, True])
def test_an_attempt_that_is_handed_back_unknown_has_begun_if_the_store_says_so(
    bench: LeaderBench, unknown: bool
) -> None:
    """Under an older generation, whose end of it is lost: then it counts as a start (P4)."""
    bench.submit("t")
    bench.started("t")
    bench.tell(AttemptReturned(executor="e1", incarnation="i1", task_id="t", attempt=1, unknown=unknown))
    assert bench.task("t").starts == int(unknown)


def test_cancel_while_the_assignment_is_saved(bench: LeaderBench) -> None:
    """The cancel came first in the store: the assignment misses, and is never sent."""
    bench.hold = True
    bench.submit("t")
    bench.store.request_cancel(["t"], 1.0)
    bench.answer()
    assert bench.task("t").state == State.CANCELLED
    assert not bench.take_sent(AssignTask)
    assert bench.scheduler.ledger.executors["e1"].room.taken_slots == 0


def test_cancel_hint_before_the_assignment_is_answered(bench: LeaderBench) -> None:
    """The assignment came first: the hint, newer than the save, is taken after its answer."""
    bench.hold = True
    bench.submit("t")
    bench.store.commit(bench.epoch, [save.change for save in bench.saving])
    bench.store.request_cancel(["t"], 1.0)
    bench.tell(CancelsRequested(tasks=(bench.queued("t"),)))
    assert not bench.sent
    bench.unknown(applied=False)
    assert len(bench.take_sent(AbortAttempt)) == 1
    bench.returned("t")
    assert bench.task("t").state == State.CANCELLED


def test_cancel_of_a_finished_task(bench: LeaderBench) -> None:
    """Too late: nothing happens."""
    bench.submit("t")
    bench.finished("t")
    bench.sent.clear()
    bench.cancel("t")
    assert bench.task("t").state == State.SUCCEEDED
    assert not bench.sent


# --- missed and unknown saves --------------------------------------------------------------------


def test_a_miss_is_adopted(bench: LeaderBench) -> None:
    """The store moved on: its word is taken, and the cause looked at again."""
    bench.submit("t")
    bench.hold = True
    bench.finished("t")
    bench.store.request_cancel(["t"], 1.0)
    bench.answer()
    assert bench.task("t").state == State.CANCELLED
    assert bench.take_sent(OutcomeSettled) == [OutcomeSettled(task_id="t", attempt=1)]


def test_a_task_that_is_gone_is_forgotten(bench: LeaderBench) -> None:
    """A hint of a task that the store does not have."""
    other = LeaderBench()
    other.submit("ghost")
    bench.do(bench.scheduler.rebuild([other.queued("ghost")], bench.now()))
    assert "ghost" not in bench.scheduler.ledger.entries
    assert bench.scheduler.ledger.executors["e1"].room.taken_slots == 0


@pytest.mark.parametrize("applied", [True, False])
def test_an_unknown_assignment_is_read(bench: LeaderBench, applied: bool) -> None:
    """Applied or not, the task is assigned once, and sent once."""
    bench.hold = True
    bench.submit("t")
    bench.unknown(applied=applied)
    assert (bench.task("t").state, bench.task("t").attempt) == (State.ASSIGNED, 1)
    assert len(bench.take_sent(AssignTask)) == 1
    assert bench.scheduler.ledger.executors["e1"].room.taken_slots == 1


@pytest.mark.parametrize("applied", [True, False])
def test_an_unknown_outcome_is_read(bench: LeaderBench, applied: bool) -> None:
    """It is recorded once and acknowledged as won."""
    bench.submit("t")
    bench.hold = True
    bench.finished("t")
    bench.unknown(applied=applied)
    assert bench.task("t").state == State.SUCCEEDED
    assert bench.take_sent(OutcomeSettled) == [OutcomeSettled(task_id="t", attempt=1)]


def test_an_unknown_save_is_read_until_answered(bench: LeaderBench) -> None:
    """A read that never comes is asked for again by the tick; nothing else happens meanwhile."""
    bench.hold = bench.blind = True
    bench.submit("t")
    bench.unknown(applied=True)
    bench.later(1.0, ticks=3)
    assert len(bench.unread) == 4
    assert not bench.sent
    bench.read()
    assert len(bench.take_sent(AssignTask)) == 1


def test_an_overtaken_read_is_no_answer(bench: LeaderBench) -> None:
    """A read from before what the ledger knows settles nothing."""
    bench.submit("t")
    old = bench.store.read(["t"])
    bench.started("t")
    bench.hold = bench.blind = True
    bench.finished("t")
    bench.unknown(applied=True)
    bench.do(bench.scheduler.tasks_read(["t"], old, bench.now()))
    assert bench.scheduler.ledger.entries["t"].control.state == State.RUNNING
    assert not bench.take_sent(OutcomeSettled)
    bench.later(0.1)
    bench.read()
    assert bench.take_sent(OutcomeSettled) == [OutcomeSettled(task_id="t", attempt=1)]


# --- the gate ------------------------------------------------------------------------------------


def test_a_last_attempt_is_gated(bench: LeaderBench) -> None:
    """max_attempts 1: the start is saved before it is cleared; a repeated question is cleared again."""
    bench.submit("t", max_attempts=1)
    (order,) = bench.take_sent(AssignTask)
    assert order.gated
    bench.hold = True
    bench.asks("t")
    assert not bench.sent
    bench.answer()
    assert (bench.task("t").state, bench.task("t").starts) == (State.RUNNING, 1)
    assert len(bench.take_sent(StartCleared)) == 1
    bench.asks("t")
    assert len(bench.take_sent(StartCleared)) == 1
    bench.finished("t")
    assert bench.task("t").starts == 1


def test_a_gated_attempt_is_not_cleared_for_others(bench: LeaderBench) -> None:
    """Neither after a cancel, nor for an attempt that was taken back."""
    bench.submit("t", max_attempts=1)
    bench.asks("t", attempt=2)
    bench.asks("t", name="e2")
    bench.asks("unheard-of")
    bench.cancel("t")
    bench.asks("t")
    assert not bench.take_sent(StartCleared)
    assert bench.task("t").starts == 0


def test_a_gated_attempt_whose_recall_was_lost_is_cleared(bench: LeaderBench) -> None:
    """The recall may never arrive; whoever asks then may start, and a late recall finds it started."""
    bench.submit("a")
    bench.submit("t", max_attempts=1)
    bench.later(0.6)
    bench.join("e2")
    bench.later(0.1)
    assert bench.scheduler.ledger.entries["t"].recalled_at > 0
    bench.asks("t")
    assert len(bench.take_sent(StartCleared)) == 1


def test_a_cleared_attempt_that_was_handed_back(bench: LeaderBench) -> None:
    """It was draining when it was cleared: the saved start is taken back, and it runs elsewhere."""
    bench.submit("t", max_attempts=1)
    bench.hold = True
    bench.asks("t")
    bench.returned("t")
    bench.answer()
    assert (bench.task("t").state, bench.task("t").starts, bench.task("t").attempt) == (State.ASSIGNED, 0, 2)
