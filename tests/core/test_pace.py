"""How fast an executor is taken to be, and what it is given ahead for it."""

from __future__ import annotations

import pytest
from core.leader_bench import LeaderBench

from khala.core.messages import AttemptFinished, AttemptView, RecallAttempt
from khala.core.scheduling import pace
from khala.core.scheduling.ledger import ExecutorEntry
from khala.core.scheduling.placement import Room
from khala.core.task import Demand, ExitReason, Outcome


def an_executor(**room: float) -> ExecutorEntry:
    return ExecutorEntry(name="e", room=Room(**{"slots": 4, "cpus": 4.0, **room}))


def end(executor: ExecutorEntry, took_s: float, *, now: float = 0.0, **needs: float) -> None:
    outcome = Outcome(exit_reason=ExitReason.EXITED, succeeded=True, finished_at=100.0 + took_s)
    said = AttemptFinished(
        executor="e", incarnation="i", task_id="t", attempt=1, started_at=100.0, outcome=outcome
    )
    pace.note_end(executor, Demand(**needs), said, now)


def test_one_end_is_enough_to_know_it() -> None:
    """However little it was given: four slots, 10 ms each with what is between two attempts."""
    executor = an_executor()
    end(executor, 0.008)
    assert executor.room.pace_per_s == pytest.approx(400.0)


@pytest.mark.parametrize("needs", [{"cpus": 4.0}, {"memory_bytes": 1 << 30}])
def test_an_attempt_that_takes_all_of_it_counts_as_all(needs: dict[str, float]) -> None:
    executor = an_executor(memory_bytes=1 << 30)
    end(executor, 0.098, **needs)
    assert executor.room.pace_per_s == pytest.approx(10.0)


def test_the_newest_count_most() -> None:
    executor = an_executor()
    for _ in range(50):
        end(executor, 9.998)
    assert executor.room.pace_per_s == pytest.approx(0.4)
    for _ in range(100):
        end(executor, 0.008)
    assert executor.room.pace_per_s == pytest.approx(400.0, rel=0.1)


def test_one_that_took_for_ever_is_soon_forgotten() -> None:
    executor = an_executor()
    end(executor, 1e9)
    for _ in range(40):
        end(executor, 0.008)
    assert executor.room.pace_per_s > 40.0


def test_clocks_that_go_back_make_nothing_negative() -> None:
    executor = an_executor()
    end(executor, -5.0)
    assert executor.room.pace_per_s == pytest.approx(4 / pace.BETWEEN_S)


def test_it_is_slow_while_nothing_ends() -> None:
    executor = an_executor()
    end(executor, 0.008, now=10.0)
    executor.room.taken_slots = 4
    pace.look(executor, 10.0 + pace.QUIET_S / 2)
    assert executor.room.pace_per_s == pytest.approx(400.0)
    pace.look(executor, 18.0)
    assert executor.room.pace_per_s == pytest.approx(0.5)
    end(executor, 0.008, now=18.0)
    assert executor.room.pace_per_s == pytest.approx(400.0)


def test_an_idle_one_is_as_fast_as_it_was() -> None:
    executor = an_executor()
    end(executor, 0.008, now=10.0)
    pace.look(executor, 1_000.0)
    assert executor.room.pace_per_s == pytest.approx(400.0)


def busy_with_long_ones(count: int) -> LeaderBench:
    """An executor that had short attempts, and was given so many more, which are not."""
    bench = LeaderBench()
    bench.join("e1")
    bench.submit("short")
    bench.boot_s = 1_001.0
    said = AttemptFinished(
        executor="e1", incarnation="i1", task_id="short", attempt=1, started_at=49.99,
        outcome=Outcome(exit_reason=ExitReason.EXITED, succeeded=True, finished_at=50.0),
    )  # fmt: skip
    bench.tell(said)
    for number in range(count):
        bench.submit(f"long-{number:02}")
    assert len(bench.assigned_to()) == 1 + count
    bench.started("long-00")
    held = [
        AttemptView(task_id=f"long-{n:02}", attempt=1, status="held", incarnation="i1") for n in range(count)
    ]
    bench.report("e1", "i1", *held, highest_sequence=1 + count)
    bench.sent.clear()
    return bench


def test_what_waits_for_long_is_taken_back() -> None:
    """But for one that may wait ahead; something more urgent then finds its place before them."""
    bench = busy_with_long_ones(10)
    bench.later(4.0, ticks=8)
    assert not bench.take_sent(RecallAttempt)
    bench.later(3.0, ticks=6)
    recalled = {recall.task_id for recall in bench.take_sent(RecallAttempt)}
    assert recalled == {f"long-{number:02}" for number in range(2, 10)}
    for task_id in sorted(recalled):
        bench.returned(task_id)
    bench.submit("urgent", priority=9)
    bench.sent.clear()
    bench.finished("long-00")
    assert next(iter(bench.assigned_to())) == "urgent"


def test_nothing_is_taken_back_that_will_soon_run() -> None:
    bench = busy_with_long_ones(1)
    bench.later(10.0, ticks=20)
    assert not bench.take_sent(RecallAttempt)
