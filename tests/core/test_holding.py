"""Tasks that wait for others, for a back-off, or for too long; and what is tried again."""

from __future__ import annotations

import pytest
from core.leader_bench import LeaderBench

from khala.core.dependencies import Condition, Dependency, broken
from khala.core.messages import AssignTask, OutcomeSettled
from khala.core.task import ExitReason, Outcome, State

BAD = Outcome(exit_reason=ExitReason.EXITED, reason="exit code 1", finished_at=50.0)
AGAIN = {"retry_on": (ExitReason.EXITED, ExitReason.EXECUTOR_LOST), "max_attempts": 3}


@pytest.fixture
def bench() -> LeaderBench:
    made = LeaderBench()
    made.join("e1", slots=9)
    return made


def after(*task_ids: str, condition: Condition = Condition.SUCCEEDED) -> dict[str, object]:
    return {"depends_on": tuple(Dependency(task_id=each, condition=condition) for each in task_ids)}


def assigned(bench: LeaderBench) -> list[str]:
    return [message.task_id for message in bench.take_sent(AssignTask)]


# --- dependencies -----------------------------------------------------------------------------------


def test_a_task_starts_when_all_that_it_waits_for_has_succeeded(bench: LeaderBench) -> None:
    for task_id in "ab":
        bench.submit(task_id)
    bench.submit("c", **after("a", "b"))
    bench.submit("d", **after("c"))
    assert assigned(bench) == ["a", "b"]
    bench.finished("b")
    assert assigned(bench) == []
    bench.finished("a")
    assert assigned(bench) == ["c"]
    assert not bench.looked_up, "the leader holds them all"
    bench.finished("c")
    assert assigned(bench) == ["d"]


@pytest.mark.parametrize(
    ("condition", "outcome", "starts"),
    [
        (Condition.SUCCEEDED, BAD, False),
        (Condition.FAILED, BAD, True),
        (Condition.FAILED, None, False),
        (Condition.FINISHED, BAD, True),
        (Condition.FINISHED, None, True),
    ],
    ids=range(5),
)
def test_conditions(bench: LeaderBench, condition: Condition, outcome: Outcome | None, starts: bool) -> None:
    bench.submit("a")
    bench.submit("b", **after("a", condition=condition))
    bench.submit("c", **after("b"))
    bench.finished("a", **({"outcome": outcome} if outcome else {}))
    if starts:
        assert bench.task("b").state == State.ASSIGNED
        return
    assert (bench.task("b").state, bench.task("b").exit_reason) == (
        State.FAILED,
        ExitReason.DEPENDENCY_FAILED,
    )
    bench.later(0.2)
    assert bench.task("c").exit_reason == ExitReason.DEPENDENCY_FAILED


def test_a_cancelled_task_is_finished_and_nothing_else(bench: LeaderBench) -> None:
    bench.submit("a", **after("z" * 24))
    bench.submit("b", **after("a"))
    bench.submit("c", **after("a", condition=Condition.FINISHED))
    bench.cancel("a")
    assert bench.task("a").state == State.CANCELLED
    assert (bench.task("b").exit_reason, bench.task("c").state) == (
        ExitReason.DEPENDENCY_FAILED,
        State.ASSIGNED,
    )


def test_a_new_leader_looks_up_once_what_has_ended_before_it() -> None:
    first = LeaderBench()
    first.join("e1", slots=9)
    for task_id in ("good", "gone"):
        first.submit(task_id)
        first.finished(task_id)
    first.store.purge("gone", 5.0)
    second = LeaderBench(first.store)
    second.join("e1", slots=9)
    for number in range(5):
        second.submit(f"t{number}", hinted=False, **after("good", "gone"))
    second.rescan()
    assert assigned(second) == [f"t{number}" for number in range(5)]
    assert sorted(second.looked_up) == ["gone", "good"]


def test_what_does_not_exist_is_waited_for_a_while(bench: LeaderBench) -> None:
    bench.submit("b", **after("a"))
    bench.later(30.0, ticks=10)
    assert bench.task("b").state == State.PENDING
    bench.submit("a", hinted=False)
    bench.rescan()
    bench.finished("a")
    assert bench.task("b").state == State.ASSIGNED
    bench.submit("d", **after("never"))
    bench.later(70.0, ticks=10)
    assert bench.task("d").reason == "task never, which it depends on, does not exist"


def test_circles_and_unknown_tasks_are_found() -> None:
    wanted = {"a": {"b"}, "b": {"a"}, "c": {"a"}, "d": {"old"}, "e": {"d", "old"}, "f": {"f"}, "g": {"no"}}
    wanted["free"] = set()
    problems = broken(wanted, {"old"})
    assert set(problems) == {"a", "b", "c", "f", "g"}
    assert "circle" in problems["f"] and "there is no task no" in problems["g"]


def test_a_hundred_thousand_wait_for_one(bench: LeaderBench) -> None:
    bench.submit("a")
    scheduler, demand = bench.scheduler, bench.queued("a").demand
    holding = scheduler.ledger.holding
    control = bench.task("a")
    waits = type(demand)(depends_on=(Dependency(task_id="a"),))
    for number in range(100_000):
        assert not holding.admit(f"t{number}", control, waits, scheduler.ledger.entries, 0.0)
    holding.leave("t7")
    holding.finished("a", State.SUCCEEDED)
    assert len(holding.released) == 99_999 and not holding._waiting


# --- trying again, and waiting too long -------------------------------------------------------------


def test_what_failed_for_a_named_reason_is_tried_again_later_each_time(bench: LeaderBench) -> None:
    bench.submit("a", **AGAIN, backoff_s=4.0)
    assert assigned(bench) == ["a"]
    bench.finished("a", outcome=BAD)
    (settled,) = bench.take_sent(OutcomeSettled)
    assert settled.superseded and bench.task("a").state == State.PENDING
    bench.later(3.0, ticks=3)
    assert assigned(bench) == []
    bench.later(2.0, ticks=2)
    assert assigned(bench) == ["a"]
    bench.finished("a", attempt=2, outcome=BAD)
    bench.later(7.0, ticks=7)
    assert assigned(bench) == []
    bench.later(2.0, ticks=2)
    assert assigned(bench) == ["a"]
    bench.finished("a", attempt=3, outcome=BAD)
    assert (bench.task("a").state, bench.task("a").starts) == (State.FAILED, 3)


def test_a_new_leader_keeps_to_the_back_off() -> None:
    first = LeaderBench()
    first.join("e1")
    first.submit("a", **AGAIN, backoff_s=10.0)
    first.finished("a", outcome=BAD)
    second = LeaderBench(first.store)
    second.join("e1")
    second.rescan()
    assert assigned(second) == []
    second.later(11.0, ticks=4)
    assert assigned(second) == ["a"]


def test_other_reasons_and_a_success_are_final(bench: LeaderBench) -> None:
    bench.submit("a", retry_on=(ExitReason.SIGNALED,))
    bench.submit("b", **AGAIN)
    bench.finished("a", outcome=BAD)
    bench.finished("b")
    assert (bench.task("a").state, bench.task("b").state) == (State.FAILED, State.SUCCEEDED)


def test_a_task_that_is_not_to_outlive_its_executor_is_gated(bench: LeaderBench) -> None:
    bench.submit("a", retry_on=())
    (order,) = bench.take_sent(AssignTask)
    assert order.gated
    bench.asks("a")
    bench.see()
    bench.later(10.0, ticks=4)
    assert bench.task("a").exit_reason == ExitReason.EXECUTOR_LOST


def test_a_task_waits_no_longer_than_its_owner_wants() -> None:
    bench = LeaderBench()
    bench.submit("a", queue_timeout_s=5.0)
    bench.submit("b", queue_timeout_s=50.0)
    bench.submit("c", queue_timeout_s=5.0)
    bench.cancel("c")
    bench.later(4.0, ticks=4)
    assert bench.task("a").state == State.PENDING
    bench.later(2.0, ticks=2)
    assert (bench.task("a").exit_reason, bench.task("b").state) == (ExitReason.QUEUE_TIMEOUT, State.PENDING)
    bench.join("e1")
    bench.later(60.0, ticks=6)
    assert bench.task("b").state == State.ASSIGNED
    assert bench.task("c").state == State.CANCELLED


def test_a_change_under_way_is_not_overtaken(bench: LeaderBench) -> None:
    bench.hold = True
    bench.submit("a", queue_timeout_s=5.0)
    bench.later(10.0, ticks=3)
    bench.hold = False
    bench.answer()
    assert bench.task("a").state == State.ASSIGNED
