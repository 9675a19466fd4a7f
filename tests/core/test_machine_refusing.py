"""What the executor machine refuses: orders of another epoch, generation or life, used ids (P4, P8, P9)."""

from __future__ import annotations

import pytest
from core.executor_bench import E1, E2, E3, ExecutorBench, ready

from khala.core.effects import Journal, Send, StopAttempt
from khala.core.journal import Fact
from khala.core.messages import AttemptFinished, AttemptReturned
from khala.core.task import Epoch


@pytest.fixture
def bench() -> ExecutorBench:
    """One slot; epoch 1 was answered."""
    return ready()


def test_an_older_epoch_is_refused_for_good(bench: ExecutorBench) -> None:
    """Every order of it; the newer one was on disk before it was answered."""
    effects = bench.announce(E2)
    assert [type(effect) for effect in effects] == [Journal, Send]
    assert effects[0].record.epoch == E2
    bench.effects.clear()
    assert bench.assign("t", epoch=E1) == []
    assert bench.announce(E1) == bench.recall("t", epoch=E1) == bench.abort("t", epoch=E1) == []
    reborn = ExecutorBench(journal=bench.journal, incarnation="i2")
    assert reborn.machine.epoch == E2
    assert reborn.assign("t", epoch=E1) == []
    assert reborn.assign("t", epoch=E2, sequence=1) != []


def test_an_order_of_a_newer_epoch_binds_like_an_announcement(bench: ExecutorBench) -> None:
    """The first message of a new leader may be any."""
    effects = bench.assign("t", epoch=E3, sequence=1)
    assert (effects[0].record.fact, effects[0].record.epoch) == (Fact.EPOCH, E3)
    assert bench.started() == [("t", 1)]


def test_another_incarnation_is_refused(bench: ExecutorBench) -> None:
    """An order for an earlier life of this executor."""
    bench.assign("t", incarnation="i0")
    assert bench.started() == []
    assert bench.report().highest_sequence == 0


def test_an_old_number_is_refused(bench: ExecutorBench) -> None:
    """At or below the highest seen, whether or not it is held; a report names the highest."""
    bench.assign("b", sequence=5)
    bench.assign("a", sequence=4)
    bench.assign("b", sequence=5)
    assert bench.started() == [("b", 1)]
    said = bench.report()
    assert (said.highest_epoch, said.highest_sequence) == (E1, 5)
    assert [each.task_id for each in said.attempts] == ["b"]
    bench.end("b")
    bench.settle("b")
    bench.assign("b", sequence=5)
    assert bench.started() == []


def test_numbers_begin_again_with_an_epoch(bench: ExecutorBench) -> None:
    """1 of a newer leader is above 5 of an older one."""
    bench.assign("a", sequence=5)
    bench.assign("b", epoch=E2, sequence=1)
    said = bench.report()
    assert (said.highest_epoch, said.highest_sequence, len(said.attempts)) == (E2, 1, 2)


def test_what_was_handed_back_never_starts(bench: ExecutorBench) -> None:
    """Recalled, aborted before its start, or never known: a late duplicate finds a tombstone."""
    bench.assign("runs")
    bench.assign("waits")
    bench.recall("waits")
    bench.recall("unknown")
    bench.abort("unheard")
    assert bench.returned() == [("waits", 1), ("unknown", 1), ("unheard", 1)]
    bench.end("runs")
    bench.effects.clear()
    for task_id in ("waits", "unknown", "unheard"):
        bench.assign(task_id)
    assert bench.returned() == [("waits", 1), ("unknown", 1), ("unheard", 1)]
    assert not [record for record in bench.journal if record.fact == Fact.START and record.task_id != "runs"]
    bench.assign("waits", attempt=2)
    assert bench.started() == [("waits", 2)]


def test_a_new_generation_ends_everything(bench: ExecutorBench) -> None:
    """A restored store does not know what was given before (P4)."""
    bench.assign("ended")
    bench.end("ended")
    bench.assign("runs")
    bench.assign("waits")
    bench.effects.clear()
    bench.announce(Epoch(2, 1))
    assert [type(each) for each in bench.effects if isinstance(each, StopAttempt)] == [StopAttempt]
    assert bench.returned() == [("waits", 1)]
    assert bench.report().attempts == ()
    bench.end("runs")
    assert not bench.machine.busy
    assert bench.take(AttemptFinished) == []


def test_a_number_of_an_older_generation_is_not_used_again(bench: ExecutorBench) -> None:
    """Whether its first bearer has ended or not: the restored store's attempt goes back (P4)."""
    bench.assign("ended")
    bench.end("ended")
    bench.assign("runs")
    bench.announce(Epoch(2, 1))
    bench.effects.clear()
    for task_id in ("ended", "runs"):
        bench.assign(task_id, epoch=Epoch(2, 1))
    assert bench.returned() == [("ended", 1), ("runs", 1)]
    bench.end("runs")
    for task_id in ("ended", "runs"):
        bench.assign(task_id, attempt=2, epoch=Epoch(2, 1))
    assert bench.started() == [("ended", 2)]


def test_what_this_life_does_not_know_may_have_begun(bench: ExecutorBench) -> None:
    """A restored store may have the start of what is settled here, or outlived: to hand it back is not to say
    that it never began."""
    bench.assign("settled")
    bench.end("settled")
    bench.settle("settled")
    bench.assign("ended")
    bench.end("ended")
    bench.assign("waits", gated=True)
    bench.announce(Epoch(2, 1))
    bench.effects.clear()
    for _ in range(2):
        for task_id in ("settled", "ended", "waits"):
            bench.abort(task_id, epoch=Epoch(2, 1))
        assert [each.unknown for each in bench.take(AttemptReturned)] == [True, True, False]


def test_what_is_said_of_an_attempt_names_its_assignments_epoch(bench: ExecutorBench) -> None:
    """Not the newest one; and the answer to another generation's end is not this one's."""
    bench.assign("t")
    bench.announce(E2)
    bench.end("t")
    assert [said.epoch for said in bench.take(AttemptFinished)] == [E1]
    bench.settle("t", epoch=Epoch(E1.generation + 1, 1))
    assert bench.machine.busy
    bench.settle("t", epoch=E1)
    assert not bench.machine.busy
