"""Leadership, and what the scheduler makes of a store, a network and a writer that fail it."""

from __future__ import annotations

from actors.world import Node, World
from wait import wait_until

from khala.actors.messages import ViewChanged
from khala.core.changes import Change
from khala.core.commands import CancelTasks, ListExecutors, ListJudicators, Ping
from khala.core.task import Epoch, OnDisconnect, State
from khala.store.memory_calls import StoreFault


def leads_with(world: World, judicator: Node, at_least: int) -> int:
    """Wait until the judicator leads with such an epoch; its number."""

    def number() -> int:
        epoch: Epoch = world.ask(judicator, Ping()).epoch
        return epoch.number if epoch.number >= at_least else 0

    return wait_until(number, what=f"epoch {at_least}")


def ticks(judicator: Node, count: int = 50) -> None:
    """Wait until the node's actors have ticked."""
    until = judicator.bus.stats().delivered + count
    wait_until(lambda: judicator.bus.stats().delivered > until, what="ticks")


def test_one_leader_takes_one_epoch(world: World) -> None:
    judicator = world.judicator()
    assert leads_with(world, judicator, 1) == 1
    assert world.ask(judicator, ListJudicators()).epoch == Epoch(1, 1)
    assert world.trouble.calls["take_epoch"] == 1


def test_a_restarted_scheduler_takes_a_new_epoch_and_finishes_everything(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    ids = world.submit(judicator, *(world.held() for _ in range(8)))
    wait_until(lambda: world.store.counts().get("running"), what="a running task")
    judicator.bus.send(f"{judicator.name}/scheduler", ViewChanged(None))  # type: ignore[arg-type]
    world.let_go()
    tasks = world.finished(judicator, ids)
    assert {task.control.state for task in tasks} == {State.SUCCEEDED}
    assert leads_with(world, judicator, 2) == 2
    assert not judicator.gave_up
    for id in ids:
        world.ended_once(id)


def test_a_restarted_writer_makes_the_leader_start_anew(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    leads_with(world, judicator, 1)
    world.trouble.crash["commit"] = 1
    ids = world.submit(judicator, *(world.new() for _ in range(5)))
    tasks = world.finished(judicator, ids)
    assert {task.control.state for task in tasks} == {State.SUCCEEDED}
    assert leads_with(world, judicator, 2) == 2


def test_a_stale_leader_resigns_and_campaigns_again(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    leads_with(world, judicator, 1)
    resigned: list[bool] = []
    resign = judicator.coordination.resign
    judicator.coordination.resign = lambda: resigned.append(True) or resign()  # type: ignore[func-returns-value, method-assign]
    newer = world.store.take_epoch("somebody else")
    (id,) = world.submit(judicator, world.new())
    (task,) = world.finished(judicator, [id])
    assert task.control.state == State.SUCCEEDED
    assert resigned
    assert leads_with(world, judicator, newer.number + 1)
    assert all(event.epoch > newer for epoch, _, event in world.store.history if epoch != Epoch())


def test_trouble_with_the_epoch_is_asked_again_and_takes_one(world: World) -> None:
    world.trouble.always["take_epoch"] = StoreFault.UNAVAILABLE
    judicator = world.judicator()
    wait_until(lambda: world.trouble.calls["take_epoch"] >= 2, what="another try")
    del world.trouble.always["take_epoch"]
    world.executor()
    world.finished(judicator, world.submit(judicator, world.new()))
    assert leads_with(world, judicator, 1) == 1, "each question asked took one more epoch"


def test_a_slow_epoch_is_taken_once(world: World) -> None:
    world.trouble.hold("take_epoch")
    judicator = world.judicator()
    wait_until(lambda: world.trouble.calls["take_epoch"], what="the question")
    world.hub.cut_off(judicator.coordination)
    world.advance(3.5)
    ticks(judicator)
    world.hub.rejoin(judicator.coordination)
    ticks(judicator)
    world.trouble.let_go("take_epoch")
    leads_with(world, judicator, 1)
    world.executor()
    world.finished(judicator, world.submit(judicator, world.new()))
    assert leads_with(world, judicator, 1) == 2, "the second question's, and no third was needed"


def test_unavailable_and_unknown_lose_nothing(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    leads_with(world, judicator, 1)
    faults = [StoreFault.UNKNOWN_APPLIED, StoreFault.UNAVAILABLE, StoreFault.UNKNOWN_NOT_APPLIED]
    world.trouble.next["commit"] = faults * 3
    world.trouble.next["read"] = [StoreFault.UNAVAILABLE] * 3
    ids = world.submit(judicator, *(world.new() for _ in range(10)))
    tasks = world.finished(judicator, ids)
    assert {(task.control.state, task.control.starts) for task in tasks} == {(State.SUCCEEDED, 1)}
    for id in ids:
        world.ended_once(id)


def test_an_outage_of_the_store_heaps_nothing_up(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    leads_with(world, judicator, 1)
    ids = world.submit(judicator, *(world.held() for _ in range(4)))
    wait_until(lambda: world.store.counts().get("running"), what="a running task")
    world.trouble.always["*"] = StoreFault.UNAVAILABLE
    world.let_go()
    reads = world.trouble.calls["read"]
    # What became of a write that failed is asked until the store answers.
    wait_until(lambda: world.trouble.calls["read"] > reads + 2, what="failed reads")
    del world.trouble.always["*"]
    tasks = world.finished(judicator, ids)
    assert {task.control.starts for task in tasks} == {1}


def test_a_store_that_takes_its_time_is_asked_one_question_at_a_time(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    leads_with(world, judicator, 1)
    world.trouble.next["commit"] = [StoreFault.UNKNOWN_APPLIED]
    world.trouble.hold("read")
    ids = world.submit(judicator, *(world.new() for _ in range(4)))
    wait_until(lambda: world.trouble.calls["read"], what="the question")
    ticks(judicator, 200)
    world.trouble.let_go("read")
    world.finished(judicator, ids)
    assert world.trouble.calls["read"] < 15


def test_leadership_lost_by_the_clock_ends_the_writes(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    leads_with(world, judicator, 1)
    world.hub.cut_off(judicator.coordination)
    world.advance(3.5)
    wait_until(lambda: world.ask(judicator, Ping()).epoch == Epoch(), what="the leader to step down")
    commits = world.trouble.calls["commit"]
    (id,) = world.submit(judicator, world.new())
    inserted = world.trouble.calls["scan_queue_keys"]
    world.advance(2.0)
    world.ask(judicator, Ping())
    assert (world.trouble.calls["commit"], world.trouble.calls["scan_queue_keys"]) == (commits, inserted)
    world.hub.rejoin(judicator.coordination)
    (task,) = world.finished(judicator, [id])
    assert task.control.state == State.SUCCEEDED
    assert leads_with(world, judicator, 2) == 2


def test_two_judicators_and_the_second_takes_over(world: World) -> None:
    first, second = world.judicator(), world.judicator()
    world.executor()
    leads_with(world, first, 1)
    ids = world.submit(second, *(world.new() for _ in range(5)))
    assert len(world.finished(second, ids)) == 5, "hints and ends travel between judicators"
    world.hub.cut_off(first.coordination)
    world.advance(3.5)
    assert leads_with(world, second, 2) == 2
    ids = world.submit(first, *(world.new() for _ in range(5)))
    assert len(world.finished(second, ids)) == 5


def test_lost_hints_are_found_by_the_rescan(world: World) -> None:
    first, second = world.judicator(), world.judicator()
    world.executor()
    leads_with(world, first, 1)
    world.network.mute(second.name, first.name)
    ids = world.submit(second, world.new(), world.new("sleep 600"))
    wait_until(lambda: world.store.counts().get("running"), what="a running task")
    world.ask(second, CancelTasks(task_ids=(ids[1],)))
    tasks = world.finished(second, ids)
    assert {task.control.state for task in tasks} == {State.SUCCEEDED, State.CANCELLED}


def test_drops_duplicates_and_delays_leave_one_outcome_each(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    world.plan(drop=0.2, duplicate=0.3, delay_s=(0.0, 0.02))
    ids = world.submit(judicator, *(world.new() for _ in range(30)))
    tasks = world.finished(judicator, ids)
    assert {(task.control.state, task.control.starts) for task in tasks} == {(State.SUCCEEDED, 1)}
    for id in ids:
        world.ended_once(id)


def test_a_lost_executors_tasks_run_elsewhere(world: World) -> None:
    judicator = world.judicator()
    lost = world.executor(slots=1)
    (id,) = world.submit(judicator, world.held())
    wait_until(lambda: world.store.counts().get("running"), what="a running task")
    world.network.cut(judicator.name, lost.name)
    world.hub.cut_off(lost.coordination)
    other = world.executor(slots=1)
    world.advance(14.0)
    world.let_go()
    (task,) = world.finished(judicator, [id])
    assert (task.control.executor, task.control.attempt) == (other.name, 2)


def test_an_executor_that_reaches_nobody_gives_its_tasks_up_though_its_lease_holds(world: World) -> None:
    judicator = world.judicator()
    lost = world.executor(slots=1)
    (id,) = world.submit(judicator, world.held(on_disconnect=OnDisconnect.STOP))
    wait_until(lambda: world.store.counts().get("running"), what="a running task")
    world.network.cut(judicator.name, lost.name)
    other = world.executor(slots=1)
    world.advance(14.0)
    world.let_go()
    (task,) = world.finished(judicator, [id])
    assert (task.control.executor, task.control.attempt) == (other.name, 2)
    world.network.heal(judicator.name, lost.name)

    def executors() -> set[str]:
        return {view.executor for view in world.ask(judicator, ListExecutors()).executors}

    wait_until(lambda: executors() == {lost.name, other.name}, what="its return")


def test_an_executor_cut_off_from_the_leader_works_on_by_another_judicator(world: World) -> None:
    leader, other = world.judicator(), world.judicator()
    leads_with(world, leader, 1)
    executor = world.executor(slots=1)
    world.network.cut(leader.name, executor.name)
    ids = world.submit(other, *(world.new() for _ in range(3)))
    tasks = world.finished(leader, ids)
    assert {(task.control.state, task.control.attempt) for task in tasks} == {(State.SUCCEEDED, 1)}


def test_a_batch_is_bounded(world: World) -> None:
    judicator = world.judicator()
    world.executor()
    sizes: list[int] = []
    commit = world.store.commit

    def counting(epoch: Epoch, changes: list[Change]) -> object:
        sizes.append(len(changes))
        return commit(epoch, changes)

    world.store.commit = counting  # type: ignore[method-assign, assignment]
    ids = [id for _ in range(3) for id in world.submit(judicator, *(world.new() for _ in range(900)))]
    world.ask(judicator, CancelTasks(task_ids=tuple(ids[:1000])))
    for start in range(1000, len(ids), 1000):
        world.ask(judicator, CancelTasks(task_ids=tuple(ids[start : start + 1000])))
    wait_until(lambda: sum(world.store.counts().get(s, 0) for s in ("cancelled", "succeeded")) == len(ids))
    assert max(sizes) <= 1000
    assert len(sizes) < len(ids) / 5, "group commit"
