"""The executor machine across crashes: what its journal says, and what it makes of it."""

from __future__ import annotations

from dataclasses import replace

from core.executor_bench import E1, E2, ExecutorBench

from khala.core.execution.holdings import remember
from khala.core.journal import Fact, JournalRecord
from khala.core.messages import AttemptFinished
from khala.core.task import Epoch, ExitReason


def crashed_bench() -> ExecutorBench:
    """One attempt settled, one ended and unacknowledged, one running, one waiting: then it dies."""
    bench = ExecutorBench()
    bench.announce(E2)
    for task_id in ("settled", "ended", "running", "waiting"):
        bench.assign(task_id, epoch=E2)
    bench.end("settled")
    bench.settle("settled")
    bench.end("ended")
    return bench


def test_rebuilt_from_the_journal() -> None:
    """The running one died with it, the ended one is told again, the others are not known any more."""
    bench = ExecutorBench(journal=crashed_bench().journal, incarnation="i2")
    said = bench.report()
    assert {(each.task_id, each.status, each.incarnation) for each in said.attempts} == {
        ("ended", "finished", "i1"),
        ("running", "finished", "i1"),
    }
    assert (said.incarnation, said.epoch, said.highest_sequence) == ("i2", E2, 0)


def test_ends_of_an_earlier_life_are_told() -> None:
    """With the incarnation that they were assigned to: an outcome as it was, a crash as a loss."""
    bench = ExecutorBench(journal=crashed_bench().journal, incarnation="i2")
    assert set(bench.deliver()) == {("ended", 1), ("running", 1)}
    told = {said.task_id: said for said in bench.take(AttemptFinished)}
    assert told["ended"].outcome.succeeded
    assert told["running"].outcome.exit_reason == ExitReason.EXECUTOR_LOST
    assert {said.incarnation for said in told.values()} == {"i1"}
    bench.settle("ended")
    bench.settle("running")
    assert not bench.machine.busy
    third = ExecutorBench(journal=bench.journal, incarnation="i3")
    assert not third.machine.busy


def test_a_crash_is_written_down_once() -> None:
    """The next life journals the end of what died; the one after finds it ended."""
    first = crashed_bench()
    second = ExecutorBench(journal=first.journal, incarnation="i2")
    assert second.facts()[-1] == (Fact.END, "running", 1)
    length = len(second.journal)
    third = ExecutorBench(journal=second.journal, incarnation="i3")
    assert third.facts()[length:] == [(Fact.INCARNATION, "", 0)]
    third.deliver()
    assert {said.task_id for said in third.take(AttemptFinished)} == {"ended", "running"}


def test_no_end_of_an_earlier_life_is_told_before_its_output_is_stored() -> None:
    """However long that takes; after the settling its spool is dropped (P6)."""
    bench = ExecutorBench(journal=crashed_bench().journal, incarnation="i2")
    effects = bench.later(5.0)
    assert not [each for each in effects if isinstance(getattr(each, "message", None), AttemptFinished)]
    bench.deliver()
    for task_id in ("ended", "running"):
        bench.settle(task_id)
    assert bench.dropped() == [("ended", 1), ("running", 1)]


def test_an_attempt_of_an_earlier_life_is_not_started_again() -> None:
    """Even if a leader sent it to the new one by mistake, while its end is not settled."""
    bench = ExecutorBench(journal=crashed_bench().journal, incarnation="i2")
    bench.assign("running", epoch=E2)
    assert bench.started() == []


def test_the_next_life_knows_what_an_older_generation_gave() -> None:
    """Both what ran and what had ended are forgotten without a word (P4), and told apart by their starts."""
    first = crashed_bench()
    renewed = [*first.journal, JournalRecord(fact=Fact.EPOCH, epoch=Epoch(E2.generation + 1, 1))]
    bench = ExecutorBench(journal=renewed, incarnation="i2")
    assert bench.dropped() == [("ended", 1), ("running", 1)]
    assert not bench.machine.busy
    assert bench.report().attempts == ()
    assert remember(bench.journal).outlived == ()


def test_a_journal_without_the_epochs_of_starts_is_read_as_before() -> None:
    """As the version before wrote it."""
    plain = [replace(record, epoch=Epoch()) for record in crashed_bench().journal if record.task_id]
    past = remember([*plain, JournalRecord(fact=Fact.EPOCH, epoch=Epoch(E2.generation + 1, 1))])
    assert (len(past.crashed), len(past.unacknowledged), past.outlived) == (1, 1, ())


def test_a_compacted_journal_says_the_same() -> None:
    """records() is what remember() made of the whole."""
    past = remember(crashed_bench().journal)
    assert remember(past.records()) == past
    assert (past.epoch, len(past.crashed), len(past.unacknowledged)) == (E2, 1, 1)


def test_an_empty_journal() -> None:
    """A first life has nothing to tell."""
    past = remember([])
    assert (past.crashed, past.unacknowledged) == ((), ())
    bench = ExecutorBench()
    assert bench.facts() == [(Fact.INCARNATION, "", 0)]
    assert not bench.machine.busy


def test_the_newest_epoch_counts_in_any_order() -> None:
    """Whatever the order of the records."""
    records = [JournalRecord(fact=Fact.EPOCH, epoch=epoch) for epoch in (E2, E1)]
    assert remember(records).epoch == E2
