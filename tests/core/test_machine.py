"""The executor machine's promises: the order of disk and deeds, the gate, ends, drain."""

from __future__ import annotations

import pytest
from core.executor_bench import E1, E2, GOOD, ExecutorBench, ready

from khala.core.effects import Journal, Send, StartAttempt
from khala.core.journal import Fact
from khala.core.messages import (
    AttemptFinished,
    AttemptReturned,
    AttemptStarted,
    ExecutorReport,
    StartRequested,
    TasksQueued,
)
from khala.core.task import Epoch, OnDisconnect, Phase

STOP = {"on_disconnect": OnDisconnect.STOP}


@pytest.fixture
def bench() -> ExecutorBench:
    """One slot; epoch 1 was answered."""
    return ready()


# --- disk before deeds ---------------------------------------------------------------------------


def test_the_start_is_on_disk_first(bench: ExecutorBench) -> None:
    """Then it executes."""
    effects = bench.assign("t")
    assert [type(effect) for effect in effects] == [Journal, StartAttempt]
    record = effects[0].record
    assert (record.fact, record.task_id, record.attempt, record.incarnation) == (Fact.START, "t", 1, "i1")


def test_the_end_is_on_disk_first(bench: ExecutorBench) -> None:
    """Then it is told, and the next one starts."""
    bench.assign("t")
    bench.assign("next")
    effects = bench.end("t")
    assert [type(effect) for effect in effects] == [Journal, Send, Journal, StartAttempt]
    assert (effects[0].record.fact, effects[0].record.outcome) == (Fact.END, GOOD)


def test_an_end_is_told_until_settled(bench: ExecutorBench) -> None:
    """Each second, whoever leads; then it is forgotten, on disk too."""
    bench.assign("t")
    bench.end("t")
    assert len(bench.take(AttemptFinished)) == 1
    bench.later(0.5)
    assert len(bench.take(AttemptFinished)) == 0
    bench.later(0.5)
    assert len(bench.take(AttemptFinished)) == 1
    bench.announce(E2)
    bench.later(1.0)
    assert bench.take(AttemptFinished)[0].outcome == GOOD
    assert bench.report().attempts[0].status == "finished"
    bench.settle("t")
    bench.later(2.0)
    assert not bench.take(AttemptFinished)
    assert bench.facts()[-1] == (Fact.SETTLED, "t", 1)
    assert not bench.machine.busy


def test_starts_and_phases_are_told_after_a_moment(bench: ExecutorBench) -> None:
    """Once for each phase; not of attempts that are over within 0.1 s."""
    bench.assign("t")
    bench.later(0.05)
    assert not bench.take(AttemptStarted)
    bench.later(0.06)
    assert [said.phase for said in bench.take(AttemptStarted)] == [""]
    for phase in (Phase.COMPILE, Phase.EXECUTE):
        bench.do(bench.machine.phase_entered("t", 1, phase, bench.now()))
        bench.later(0.2)
        bench.later(0.2)
        assert [said.phase for said in bench.take(AttemptStarted)] == [phase]
    assert bench.machine.phase_entered("unknown", 1, Phase.COMPILE, bench.now()) == []


# --- the gate ------------------------------------------------------------------------------------


def test_a_gated_attempt_asks_and_waits(bench: ExecutorBench) -> None:
    """It has its slot, asks each second, and starts when cleared, once."""
    bench.assign("t", gated=True)
    bench.assign("behind")
    assert len(bench.take(StartRequested)) == 1
    bench.later(1.0)
    assert len(bench.take(StartRequested)) == 1
    assert [(each.task_id, each.status) for each in bench.report().attempts] == [
        ("t", "held"),
        ("behind", "held"),
    ]
    effects = bench.clear("t")
    assert [type(effect) for effect in effects] == [Journal, StartAttempt]
    assert bench.clear("t") == []
    assert bench.clear("behind") == []
    assert bench.clear("t", epoch=Epoch(1, 0)) == []


def test_a_gated_attempt_can_be_taken_back(bench: ExecutorBench) -> None:
    """Before it is cleared; its slot is free again and a late clearance does nothing."""
    bench.assign("t", gated=True)
    bench.assign("next")
    bench.recall("t")
    done = [type(each) for each in bench.take(AttemptReturned | StartAttempt)]
    assert done == [AttemptReturned, StartAttempt]
    assert bench.clear("t") == []


# --- recall and abort ----------------------------------------------------------------------------


def test_a_started_one_is_not_recalled(bench: ExecutorBench) -> None:
    """Nor is one that ended."""
    bench.assign("t")
    assert bench.recall("t") == []
    bench.end("t")
    assert bench.recall("t") == []


def test_abort_while_held_or_asked(bench: ExecutorBench) -> None:
    """It is handed back."""
    bench.assign("asks", gated=True)
    bench.assign("waits")
    bench.abort("waits")
    bench.abort("asks")
    assert bench.returned() == [("waits", 1), ("asks", 1)]
    assert not bench.machine.busy


def test_abort_while_it_runs(bench: ExecutorBench) -> None:
    """It is stopped, once; its end is told like any other."""
    bench.assign("t")
    bench.abort("t")
    bench.abort("t")
    assert bench.stopped() == [("t", 1)]
    bench.end("t")
    assert len(bench.take(AttemptFinished)) == 1


def test_abort_of_a_superseded_one(bench: ExecutorBench) -> None:
    """It is stopped and forgotten at its end: nobody wants to hear of it."""
    bench.assign("t")
    bench.abort("t", superseded=True)
    bench.end("t")
    assert not bench.take(AttemptFinished)
    assert bench.facts()[-1] == (Fact.SETTLED, "t", 1)
    assert not bench.machine.busy


def test_abort_after_the_end(bench: ExecutorBench) -> None:
    """A cancel that came too late does not take the outcome back; superseded forgets it."""
    bench.assign("t")
    bench.end("t")
    assert bench.abort("t") == []
    assert bench.machine.busy
    bench.abort("t", superseded=True)
    assert not bench.machine.busy


def test_superseded_while_it_runs_by_the_answer(bench: ExecutorBench) -> None:
    """An answer about an attempt that was taken for lost stops it."""
    bench.assign("t")
    bench.settle("t", superseded=True)
    assert bench.stopped() == [("t", 1)]
    bench.settle("unknown")
    bench.end("t")
    assert not bench.machine.busy


# --- room ----------------------------------------------------------------------------------------


def test_capacity_is_never_exceeded() -> None:
    """Slots, cpus and memory; what does not fit lets the next one by."""
    bench = ExecutorBench(slots=3, cpus=2.0, memory_bytes=100)
    bench.assign("a", cpus=1.0, memory_bytes=60)
    bench.assign("wide", cpus=2.0)
    bench.assign("heavy", cpus=0.5, memory_bytes=60)
    bench.assign("b", cpus=0.5)
    bench.assign("c", cpus=0.5)
    bench.assign("d", cpus=0.0)
    assert [task_id for task_id, _ in bench.started()] == ["a", "b", "c"]
    bench.end("a")
    assert [task_id for task_id, _ in bench.started()] == ["heavy"]
    bench.end("b")
    bench.end("c")
    bench.end("heavy")
    assert [task_id for task_id, _ in bench.started()] == ["d", "wide"]


def test_slots_are_distinct() -> None:
    """And used again."""
    bench = ExecutorBench(slots=2)
    for task_id in "abc":
        bench.assign(task_id, cpus=0.0)
    assert [effect.slot for effect in bench.take(StartAttempt)] == [0, 1]
    bench.end("b")
    assert [effect.slot for effect in bench.take(StartAttempt)] == [1]


# --- drain, lease ---------------------------------------------------------------------------------


def test_drain(bench: ExecutorBench) -> None:
    """What waits is handed back at once, what comes is refused, what runs is finished and told."""
    bench.assign("runs")
    bench.assign("waits")
    bench.effects.clear()
    bench.do(bench.machine.drain(bench.now()))
    assert [each.draining for each in bench.take(AttemptReturned | ExecutorReport)[1:]] == [True]
    bench.assign("late")
    assert bench.returned() == [("late", 1)]
    assert bench.machine.busy
    bench.end("runs")
    bench.settle("runs")
    assert not bench.machine.busy
    assert bench.started() == []


def test_a_full_disk(bench: ExecutorBench) -> None:
    """Closed while it lasts: what waits and what comes is handed back, what runs goes on; then open again."""
    bench.assign("runs")
    bench.assign("waits")
    bench.effects.clear()
    bench.do(bench.machine.room_measured(bench.now(), room=False))
    assert [each.draining for each in bench.take(AttemptReturned | ExecutorReport)[1:]] == [True]
    bench.assign("late")
    assert bench.returned() == [("late", 1)]
    bench.end("runs")
    bench.settle("runs")
    bench.effects.clear()
    assert bench.do(bench.machine.room_measured(bench.now(), room=False)) == []
    bench.do(bench.machine.room_measured(bench.now(), room=True))
    assert [each.draining for each in bench.take(ExecutorReport)] == [False]
    bench.assign("welcome")
    assert bench.started() == [("welcome", 1)]


def test_a_lost_lease_hands_back_what_must_not_overlap(bench: ExecutorBench) -> None:
    """Waiting `stop` attempts; `continue` ones and what runs are kept (P11)."""
    bench.assign("runs", spec=STOP)
    bench.assign("stops", spec=STOP)
    bench.assign("continues")
    bench.effects.clear()
    bench.do(bench.machine.lease_lost(bench.now()))
    assert bench.returned() == [("stops", 1)]
    bench.end("runs")
    assert bench.started() == [("continues", 1)]


def test_a_lost_lease_refuses_what_is_under_way(bench: ExecutorBench) -> None:
    """An assignment sent before the loss comes too late; the report lets a leader go on above it."""
    bench.assign("a", sequence=3)
    bench.do(bench.machine.lease_lost(bench.now()))
    said = bench.take(ExecutorReport)[-1]
    assert said.highest_epoch == E1
    assert said.highest_sequence > 1_000_000
    bench.end("a")
    bench.assign("late", sequence=4, spec=STOP)
    assert bench.started() == []
    bench.assign("new", sequence=said.highest_sequence + 1, spec=STOP)
    assert bench.started() == [("new", 1)]


# --- what it does not understand ------------------------------------------------------------------


def test_a_foreign_message_is_a_bug(bench: ExecutorBench) -> None:
    """It is not silently dropped."""
    with pytest.raises(TypeError, match="TasksQueued"):
        bench.machine.handle(TasksQueued(tasks=()), bench.now())


def test_reports_are_numbered_and_regular(bench: ExecutorBench) -> None:
    """Once a second, with growing numbers."""
    first, second = bench.report(), bench.report()
    assert second.number == first.number + 1
    bench.later(0.3)
    assert not bench.take(ExecutorReport)
