"""What the executor machine gives a slot ahead, and takes back."""

from __future__ import annotations

import pytest
from core.executor_bench import E1, E2, GOOD, ExecutorBench

from khala.core.effects import Journal, StartAttempt
from khala.core.execution.lanes import MOST_AHEAD, MOST_INLINE_BYTES
from khala.core.journal import Fact
from khala.core.messages import AttemptFinished, AttemptReturned, AttemptStarted
from khala.core.task import (
    Archive,
    Command,
    Epoch,
    ExitReason,
    InputFile,
    OnDisconnect,
    Outcome,
    Phase,
    PhaseResult,
    Result,
)


def took(seconds: float, *, at: float = 1_000.0) -> Outcome:
    """A good end `at` of an attempt whose command ran so long."""
    part = PhaseResult(exit_reason=ExitReason.EXITED, exit_code=0, started_at=at - seconds)
    result = Result(execute=part)
    return Outcome(exit_reason=ExitReason.EXITED, succeeded=True, finished_at=at, result=result)


def brisk(slots: int = 1, **offer: float) -> ExecutorBench:
    """An executor that has answered epoch 1 and whose attempts have taken 4 ms each."""
    bench = ExecutorBench(slots=slots, **offer)
    bench.announce(E1)
    for number in range(30):
        bench.assign(f"warm-{number}")
        bench.end(f"warm-{number}", outcome=took(0.004))
        bench.settle(f"warm-{number}")
    bench.effects.clear()
    bench.journal.clear()
    return bench


@pytest.fixture
def bench() -> ExecutorBench:
    """One slot."""
    return brisk()


def ordered(bench: ExecutorBench) -> list[tuple[str, int, bool]]:
    """What was given to slots since the last look: task, slot, and if it was ahead."""
    return [(each.task_id, each.slot, each.ahead) for each in bench.take(StartAttempt)]


def runs(bench: ExecutorBench, task_id: str) -> bool:
    """Does it tell, and nothing else, that it runs, once its launcher says so?"""
    bench.machine.phase_entered(task_id, 1, Phase.EXECUTE, bench.now())
    bench.later(0.2)
    return [said.task_id for said in bench.take(AttemptStarted)] == [task_id]


def test_short_ones_are_given_ahead_with_their_start_on_disk(bench: ExecutorBench) -> None:
    bench.assign("a")
    effects = bench.assign("b")
    assert [type(effect) for effect in effects] == [Journal, StartAttempt]
    assert ordered(bench) == [("a", 0, False), ("b", 0, True)]
    assert bench.facts() == [(Fact.START, "a", 1), (Fact.START, "b", 1)]


def test_none_is_before_attempts_are_known_to_be_short() -> None:
    bench = ExecutorBench()
    bench.announce(E1)
    bench.assign("a")
    bench.assign("b")
    assert ordered(bench) == [("a", 0, False)]


def test_none_is_where_attempts_take_long(bench: ExecutorBench) -> None:
    for number in range(10):
        bench.assign(f"long-{number}")
        bench.end(f"long-{number}", outcome=took(3.0))
    bench.assign("a")
    bench.effects.clear()
    bench.assign("b")
    assert ordered(bench) == []


def test_one_slot_is_given_no_more_than_its_share() -> None:
    """In one go: what waits is shared out among the slots, and then filled up when half of it has gone."""
    bench = brisk(slots=2)
    bench.machine.drain(bench.now())
    bench.machine.undrain(bench.now())
    bench.effects.clear()
    for number in range(100):
        bench.assign(f"t-{number:02}")
    given = ordered(bench)
    assert len(given) <= 2 * (1 + MOST_AHEAD)
    slots = [sum(slot == each for _, slot, _ in given) for each in (0, 1)]
    assert abs(slots[0] - slots[1]) <= 1
    assert [task_id for task_id, _, _ in given] == sorted(task_id for task_id, _, _ in given)


def test_an_end_makes_the_next_one_begin_without_a_word(bench: ExecutorBench) -> None:
    bench.assign("a")
    bench.assign("b")
    bench.effects.clear()
    bench.end("a", outcome=took(0.004))
    assert ordered(bench) == []
    assert runs(bench, "b")


def test_it_began_when_its_command_did(bench: ExecutorBench) -> None:
    """Ends are heard together; nothing ends before it began."""
    bench.assign("a")
    bench.assign("b")
    bench.boot_s += 0.1
    for task_id in "ab":
        bench.end(task_id, outcome=took(0.004))
    ends = {said.task_id: said for said in bench.take(AttemptFinished)}
    assert ends["b"].started_at == ends["b"].outcome.finished_at - 0.004


@pytest.mark.parametrize(
    "how",
    [
        {"gated": True},
        {"attempt": 2},
        {"cpus": 2.0},
        {"memory_bytes": 1},
        {"spec": {"on_disconnect": OnDisconnect.STOP}},
        {"spec": {"expected_output": b"42"}},
        {"spec": {"archives": (Archive(file_id="f" * 64, path=""),)}},
        {"spec": {"inputs": (InputFile(path="a", content=bytes(MOST_INLINE_BYTES + 1)),)}},
        {"spec": {"execute": Command(argv=("cat",), stdin=bytes(MOST_INLINE_BYTES + 1))}},
    ],
    ids=str,
)
def test_what_would_lose_by_it_waits(bench: ExecutorBench, how: dict[str, object]) -> None:
    bench.assign("a")
    bench.assign("b", **how)
    assert ordered(bench) == [("a", 0, False)]


def test_nothing_goes_behind_one_that_asks_to_start(bench: ExecutorBench) -> None:
    bench.assign("asks", gated=True)
    bench.assign("b")
    assert ordered(bench) == []
    bench.clear("asks")
    assert ordered(bench) == [("asks", 0, False), ("b", 0, True)]


def test_its_share_is_that_of_the_one_before() -> None:
    bench = brisk(slots=2, cpus=2.0)
    bench.assign("a", cpus=2.0)
    bench.assign("b", cpus=2.0)
    assert ordered(bench) == [("a", 0, False), ("b", 0, True)]
    bench.end("a", outcome=took(0.004))
    bench.assign("c", cpus=1.0)
    assert ordered(bench) == [], "b has all"
    bench.end("b", outcome=took(0.004))
    assert [task_id for task_id, _, _ in ordered(bench)] == ["c"]


# --- coming back ---------------------------------------------------------------------------------


def test_what_a_slot_gives_back_waits_before_all_others(bench: ExecutorBench) -> None:
    for number in range(40):
        bench.assign(f"t-{number:02}")
    given = [task_id for task_id, _, _ in ordered(bench)]
    for task_id in reversed(given[1:]):
        bench.do(bench.machine.given_back(task_id, 1, bench.now()))
    assert ordered(bench) == [], "the slot has shown that it takes long"
    bench.end(given[0], outcome=took(0.03))
    assert ordered(bench)[0] == (given[1], 0, False)
    assert bench.facts().count((Fact.START, given[1], 1)) == 1


def test_it_goes_to_another_slot_that_is_free() -> None:
    bench = brisk(slots=2)
    for task_id in "abc":
        bench.assign(task_id)
    assert ordered(bench) == [("a", 0, False), ("b", 1, False), ("c", 0, True)]
    bench.end("b", outcome=took(0.004))
    bench.do(bench.machine.given_back("c", 1, bench.now()))
    assert ordered(bench) == [("c", 1, False)]


@pytest.mark.parametrize("why", ["draining", "disk", "aborted"])
def test_it_is_handed_back_when_it_may_not_start(bench: ExecutorBench, why: str) -> None:
    """On disk first: the next life must not tell of its loss."""
    bench.assign("a")
    bench.assign("b")
    match why:
        case "draining":
            bench.do(bench.machine.drain(bench.now()))
        case "disk":
            bench.do(bench.machine.room_measured(bench.now(), room=False))
        case _:
            bench.abort("b")
            assert bench.stopped() == [("b", 1)]
    assert bench.returned() == []
    bench.do(bench.machine.given_back("b", 1, bench.now()))
    assert bench.facts()[-1] == (Fact.RETURNED, "b", 1)
    assert bench.returned() == [("b", 1)]
    reborn = ExecutorBench(journal=bench.journal, incarnation="i2")
    assert {view.task_id for view in reborn.report().attempts} == {"a"}


def test_one_that_nobody_wants_any_more_is_forgotten(bench: ExecutorBench) -> None:
    bench.assign("a")
    bench.assign("b")
    bench.abort("b", superseded=True)
    bench.do(bench.machine.given_back("b", 1, bench.now()))
    assert bench.facts()[-1] == (Fact.SETTLED, "b", 1)
    assert bench.take(AttemptReturned) == []
    bench.end("a")
    bench.settle("a")
    assert not bench.machine.busy


def test_a_restored_store_wants_none_of_it(bench: ExecutorBench) -> None:
    bench.assign("a")
    bench.assign("b")
    bench.announce(Epoch(2, 1))
    assert bench.stopped() == [("a", 1), ("b", 1)]
    bench.do(bench.machine.given_back("b", 1, bench.now()))
    bench.end("a", outcome=GOOD)
    assert bench.take(AttemptFinished) == []
    assert not bench.machine.busy


# --- what is said of it --------------------------------------------------------------------------


def test_a_leader_hears_that_it_is_held(bench: ExecutorBench) -> None:
    bench.assign("a")
    bench.assign("b")
    assert {view.task_id: view.status for view in bench.report().attempts} == {"a": "started", "b": "held"}


def test_it_is_not_taken_back_any_more(bench: ExecutorBench) -> None:
    """It begins within a moment, or comes back by itself; then a leader may ask again."""
    bench.assign("a")
    bench.assign("b")
    bench.recall("b")
    assert bench.returned() == []
    bench.do(bench.machine.given_back("b", 1, bench.now()))
    bench.recall("b")
    assert bench.returned() == [("b", 1)]


def test_an_abort_ends_it_like_one_that_runs(bench: ExecutorBench) -> None:
    bench.assign("a")
    bench.assign("b")
    bench.assign("c")
    bench.abort("b")
    cancelled = Outcome(exit_reason=ExitReason.CANCELLED, reason="aborted before it started", finished_at=9.0)
    bench.effects.clear()
    bench.end("b", outcome=cancelled)
    assert [(said.task_id, said.started_at) for said in bench.take(AttemptFinished)] == [("b", bench.boot_s)]
    bench.end("a", outcome=took(0.004))
    assert runs(bench, "c")


def test_with_its_executor_it_is_lost(bench: ExecutorBench) -> None:
    """Nobody knows whether it had begun."""
    bench.assign("a")
    bench.assign("b")
    reborn = ExecutorBench(journal=bench.journal, incarnation="i2")
    assert set(reborn.deliver()) == {("a", 1), ("b", 1)}
    reasons = {said.outcome.exit_reason for said in reborn.take(AttemptFinished)}
    assert reasons == {ExitReason.EXECUTOR_LOST}


def test_a_new_leader_changes_nothing(bench: ExecutorBench) -> None:
    bench.assign("a")
    bench.assign("b")
    bench.announce(E2)
    bench.end("a", outcome=took(0.004))
    bench.end("b", outcome=took(0.004))
    assert len(bench.take(AttemptFinished)) == 2
