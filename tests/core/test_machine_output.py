"""Output before outcome (P6): an end is told when what belongs to it is stored, and not before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.executor_bench import E1, E2, GOOD, ExecutorBench, ready

from khala.core.effects import DeliverOutput, DropSpool, Journal
from khala.core.messages import AttemptFinished
from khala.core.output import StreamKey, cut_streams, has_files, has_stored, stored_streams
from khala.core.task import (
    Epoch,
    ExitReason,
    OnDisconnect,
    Outcome,
    OutputFile,
    PhaseResult,
    Result,
    StreamCapture,
)

LONG = StreamCapture(size=90_000, head=b"h", tail=b"t", stored_bytes=90_000, sha256="d" * 64)
SHORT = StreamCapture(size=1, head=b"h")
BROKEN = Outcome(exit_reason=ExitReason.INTERNAL_ERROR, finished_at=50.0)


def with_streams(stdout: StreamCapture, stderr: StreamCapture = SHORT) -> Outcome:
    part = PhaseResult(exit_reason=ExitReason.EXITED, exit_code=0, stdout=stdout, stderr=stderr)
    return replace(GOOD, result=Result(execute=part))


@pytest.fixture
def bench() -> ExecutorBench:
    """One slot, and one task that runs."""
    bench = ready()
    bench.assign("t")
    bench.effects.clear()
    return bench


def test_a_stored_output_goes_before_its_outcome(bench: ExecutorBench) -> None:
    """On disk, delivered, told; nothing is said meanwhile, however long it takes."""
    outcome = with_streams(LONG)
    effects = bench.end("t", outcome=outcome)
    assert [type(effect) for effect in effects] == [Journal, DeliverOutput]
    assert not [each for each in bench.later(9.0) if isinstance(getattr(each, "message", 0), AttemptFinished)]
    bench.deliver()
    (told,) = bench.take(AttemptFinished)
    assert told.outcome == outcome
    bench.later(1.1)
    assert bench.take(AttemptFinished) == [told]
    bench.settle("t")
    assert bench.dropped() == [("t", 1)]


def test_less_than_promised_is_told_as_less(bench: ExecutorBench) -> None:
    """The spool was gone; the journal's word is not repeated."""
    outcome = with_streams(LONG)
    bench.end("t", outcome=outcome)
    key = StreamKey(task_id="t", attempt=1, phase="execute", stream="stdout")
    assert list(stored_streams("t", 1, outcome.result)) == [key]
    cut = cut_streams(outcome, {key: 10})
    bench.do(bench.machine.output_delivered("t", 1, cut, bench.now()))
    (told,) = bench.take(AttemptFinished)
    assert told.outcome.result is not None
    assert told.outcome.result.execute is not None
    kept = told.outcome.result.execute.stdout
    assert (kept.size, kept.stored_bytes, kept.sha256, kept.truncated) == (90_000, 10, "", True)
    assert told.outcome.result.execute.stderr == SHORT


def test_a_short_output_pays_nothing(bench: ExecutorBench) -> None:
    """Told at once; no spool, so none to drop."""
    assert not has_stored(with_streams(SHORT))
    bench.end("t", outcome=with_streams(SHORT))
    assert len(bench.take(AttemptFinished)) == 1
    assert not [effect for effect in bench.settle("t") if isinstance(effect, DropSpool)]


def test_a_spool_that_is_not_needed_is_dropped(bench: ExecutorBench) -> None:
    """Live output of an attempt whose whole output fits into its outcome."""
    bench.end("t", outcome=with_streams(SHORT), spooled=True)
    assert len(bench.take(AttemptFinished)) == 1
    bench.settle("t")
    assert bench.dropped() == [("t", 1)]


@pytest.mark.parametrize("spooled", [False, True])
def test_without_a_result_whatever_was_spooled_counts(bench: ExecutorBench, spooled: bool) -> None:
    """The slot's launcher died: delivered as far as it goes, if there is anything."""
    bench.end("t", outcome=BROKEN, spooled=spooled)
    assert len(bench.deliver()) == spooled
    assert [said.outcome for said in bench.take(AttemptFinished)] == [BROKEN]


def test_a_cut_off_attempt_delivers_what_it_wrote() -> None:
    """Its result does not count, its output may be looked at."""
    bench = ExecutorBench()
    bench.announce(E1)
    bench.assign("t", spec={"on_disconnect": OnDisconnect.STOP})
    bench.do(bench.machine.lease_lost(bench.now()))
    bench.end("t", outcome=with_streams(LONG))
    assert bench.deliver() == [("t", 1)]
    assert [said.outcome.exit_reason for said in bench.take(AttemptFinished)] == [ExitReason.EXECUTOR_LOST]


def test_a_superseded_attempt_delivers_nothing(bench: ExecutorBench) -> None:
    """Before its end or after it."""
    bench.settle("t", superseded=True)
    bench.end("t", outcome=with_streams(LONG))
    assert bench.deliver() == []
    assert bench.dropped() == [("t", 1)]
    bench.assign("u")
    bench.end("u", outcome=with_streams(LONG))
    bench.settle("u", superseded=True)
    assert bench.dropped() == [("u", 1)]
    assert not bench.machine.busy


def test_a_new_generation_ends_a_delivery(bench: ExecutorBench) -> None:
    """The restored store knows nothing of it (P4)."""
    bench.end("t", outcome=with_streams(LONG))
    bench.announce(Epoch(E2.generation + 1, 1))
    assert bench.dropped() == [("t", 1)]
    bench.deliver()
    assert bench.take(AttemptFinished) == []


FILES = (OutputFile(path="out/a", size=3, sha256="a" * 64), OutputFile(path="b", size=0, sha256="b" * 64))


def test_output_files_go_before_their_outcome_in_the_next_life_too(bench: ExecutorBench) -> None:
    """However short its streams are: what the journal promises is stored first."""
    short = with_streams(SHORT)
    assert short.result is not None
    outcome = replace(short, result=replace(short.result, outputs=FILES))
    assert has_stored(outcome) and has_files(outcome) and not has_files(short)
    assert [type(effect) for effect in bench.end("t", outcome=outcome)] == [Journal, DeliverOutput]
    assert bench.take(AttemptFinished) == []
    second = ExecutorBench(journal=bench.journal, incarnation="i2")
    assert [type(effect) for effect in second.effects] == [Journal, DeliverOutput]
    assert second.deliver() == [("t", 1)]
    (told,) = second.take(AttemptFinished)
    assert told.outcome == outcome
    second.settle("t")
    assert second.dropped() == [("t", 1)]
