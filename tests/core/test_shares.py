"""Who comes next: fading use, turns, quotas of running tasks, bounded jobs, and what was sent ahead."""

from __future__ import annotations

from collections import Counter

import pytest
from core.leader_bench import LeaderBench

from khala.core.messages import AssignTask, RecallAttempt
from khala.core.scheduling.placement import Room, place
from khala.core.scheduling.queue import TaskQueue
from khala.core.scheduling.shares import HALF_LIFE_S, Shares
from khala.core.task import Demand, Resources, Task, TaskControl, TaskSpec


def test_use_fades_by_half_and_what_is_held_counts() -> None:
    shares, ann = Shares(), Demand(owner="ann", cpus=2.0)
    assert shares.rank("ann", 0.0) == 0.0
    shares.take(ann, 0.0)
    assert shares.rank("ann", 0.0) == 2.0
    shares.give_back(ann, 10.0)
    assert shares.rank("ann", 10.0) == pytest.approx(20.0, rel=0.01)
    assert shares.rank("ann", 10.0 + HALF_LIFE_S) == pytest.approx(10.0, rel=0.01)
    shares.forget(10.0)
    assert shares.rank("ann", 10.0) > 0
    shares.forget(20 * HALF_LIFE_S)
    assert shares.rank("ann", 20 * HALF_LIFE_S) == 0.0


def order(tasks: dict[str, Demand], shares: Shares, slots: int = 8) -> list[str]:
    queue, room = TaskQueue(), Room(slots=slots, cpus=64.0, open=True)
    for task_id, demand in tasks.items():
        queue.push(task_id, demand)
    chosen = []
    for task_id, _ in place(queue, [("e", room)], 100, shares, 5.0):
        room.take(tasks[task_id], suspect=False)
        shares.take(tasks[task_id], 5.0)
        chosen.append(task_id)
    return chosen


def test_owners_take_turns_and_priority_counts_within_one() -> None:
    tasks = {f"a{n}": Demand(owner="ann", created_at=n, priority=9) for n in range(4)}
    tasks |= {
        "b0": Demand(owner="bob", created_at=9.0),
        "b1": Demand(owner="bob", created_at=10.0, priority=1),
    }
    assert order(tasks, Shares()) == ["a0", "b1", "a1", "b0", "a2", "a3"]


def test_who_has_used_more_comes_later() -> None:
    shares = Shares()
    shares.take(Demand(owner="ann"), 0.0)
    shares.give_back(Demand(owner="ann"), 4.0)
    tasks = {f"{owner}{n}": Demand(owner=owner, created_at=n) for n in range(6) for owner in ("ann", "bob")}
    assert [task_id[0] for task_id in order(tasks, shares, slots=4)][:4] == ["b"] * 4


def test_quotas_and_bounded_jobs_hold_a_lane_and_no_other() -> None:
    shares = Shares()
    shares.limits = {"ann": 2, "eve": 0}
    tasks = {f"a{n}": Demand(owner="ann", created_at=n) for n in range(5)}
    tasks |= {f"j{n}": Demand(owner="bob", created_at=n, job_id="j", max_parallel=1) for n in range(5)}
    tasks |= {"b": Demand(owner="bob", created_at=99.0), "e": Demand(owner="eve")}
    assert sorted(order(tasks, shares)) == ["a0", "a1", "b", "j0"]
    shares.give_back(tasks["j0"], 6.0)
    assert order({"j1": tasks["j1"], "a2": tasks["a2"]}, shares) == ["j1"]


# --- a leader ---------------------------------------------------------------------------------------


def submit(bench: LeaderBench, *task_ids: str, owner: str, **fields: object) -> None:
    at = bench.boot_s
    for task_id in task_ids:
        bench.store.insert(
            [Task(id=task_id, owner=owner, created_at=at, control=TaskControl(queued_at=at),
                  **({"spec": TaskSpec()} | fields))]  # type: ignore[arg-type]
        )  # fmt: skip
    bench.rescan()


def assigned(bench: LeaderBench) -> list[str]:
    return [message.task_id for _, message in bench.sent if isinstance(message, AssignTask)]


def recalled(bench: LeaderBench) -> list[str]:
    return [message.task_id for _, message in bench.sent if isinstance(message, RecallAttempt)]


def test_a_newcomer_waits_for_what_runs_and_not_for_what_was_sent_ahead() -> None:
    bench = LeaderBench()
    bench.join("e1", slots=2)
    submit(bench, *(f"a{n}" for n in range(9)), owner="ann")
    assert assigned(bench) == ["a0", "a1", "a2", "a3"]
    for task_id in ("a0", "a1"):
        bench.started(task_id)
    submit(bench, "b", owner="bob")
    bench.later(1.0, ticks=5)
    assert recalled(bench) == ["a2", "a3"]
    for task_id in ("a2", "a3"):
        bench.returned(task_id)
    assert assigned(bench)[4] == "b"
    bench.later(2.0, ticks=10)
    assert len(recalled(bench)) == 2, "what was sent after the newcomer's task stays"


def test_a_newcomer_is_given_room_though_anothers_task_fits_nowhere() -> None:
    bench = LeaderBench()
    bench.join("e1", slots=2)
    submit(bench, *(f"a{n}" for n in range(9)), owner="ann")
    for task_id in ("a0", "a1"):
        bench.started(task_id)
    elsewhere = TaskSpec(resources=Resources(cpus=0.5), constraints={"gpu": "yes"})
    submit(bench, "impossible", owner="abe", spec=elsewhere)
    submit(bench, "b", owner="bob")
    bench.later(1.0, ticks=5)
    assert recalled(bench) == ["a2", "a3"]


def test_a_newcomer_who_was_sent_behind_others_comes_first() -> None:
    bench = LeaderBench()
    bench.join("e1", slots=2)
    submit(bench, "a0", "a1", "a2", owner="ann")
    for task_id in ("a0", "a1"):
        bench.started(task_id)
    submit(bench, "b", owner="bob")
    assert assigned(bench) == ["a0", "a1", "a2", "b"]
    bench.later(1.0, ticks=5)
    assert recalled(bench) == ["a2"]


def test_one_owner_alone_is_never_disturbed() -> None:
    bench = LeaderBench()
    bench.join("e1", slots=2)
    submit(bench, *(f"a{n}" for n in range(9)), owner="ann")
    bench.later(2.0, ticks=10)
    assert not recalled(bench)


def test_quotas_and_bounds_hold_over_executors_and_after_outcomes() -> None:
    bench = LeaderBench()
    bench.scheduler.limits_seen({"ann": 2})
    for name in ("e1", "e2"):
        bench.join(name, slots=4)
    submit(bench, *(f"a{n}" for n in range(6)), owner="ann")
    submit(bench, *(f"j{n}" for n in range(6)), owner="bob", job_id="j", max_parallel=3)
    assert Counter(task_id[0] for task_id in assigned(bench)) == {"a": 2, "j": 3}
    where = {
        message.task_id: to.partition("/")[0] for to, message in bench.sent if isinstance(message, AssignTask)
    }
    for task_id in ("a0", "j0"):
        bench.finished(task_id, name=where[task_id])
    assert Counter(task_id[0] for task_id in assigned(bench)) == {"a": 3, "j": 4}
    bench.scheduler.limits_seen({})
    bench.later(0.2)
    assert Counter(task_id[0] for task_id in assigned(bench)) == {"a": 6, "j": 4}
