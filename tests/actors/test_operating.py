"""Changing, purging and draining by hand, through real actors."""

from __future__ import annotations

from actors.world import World
from wait import wait_until

from khala.core.commands import GetTasks, ListExecutors
from khala.core.operations import AmendTask, DrainExecutor, DrainOrdered, PurgeTask
from khala.core.task import State


def test_a_higher_priority_overtakes_what_waits(world: World) -> None:
    judicator = world.judicator()
    first, second = world.submit(judicator, world.new("true"), world.new("true"))
    after = world.ask(judicator, AmendTask(task_id=second, priority=50)).tasks[0]
    assert after.spec.priority == 50
    scheduled = world.ask(judicator, AmendTask(task_id=first, priority=101))
    assert (scheduled.code, scheduled.field) == ("invalid", "priority")
    world.executor(slots=1)
    done = {task.id: task for task in world.finished(judicator, [first, second])}
    assert done[second].control.started_at < done[first].control.started_at
    world.ended_once(second)
    assert world.ask(judicator, AmendTask(task_id=first, priority=1)).tasks[0].control.state == "succeeded"
    assert world.ask(judicator, AmendTask(task_id="0" * 24, priority=1)).tasks == ()


def test_only_what_is_finished_can_be_purged(world: World) -> None:
    judicator = world.judicator()
    (id,) = world.submit(judicator, world.new())
    assert world.ask(judicator, PurgeTask(task_id=id)).tasks[0].control.state == State.PENDING
    world.executor()
    world.finished(judicator, [id])
    assert world.ask(judicator, PurgeTask(task_id=id)).tasks[0].control.state == State.SUCCEEDED
    assert world.ask(judicator, GetTasks(task_ids=(id,))).tasks == ()


def test_a_drained_executor_takes_nothing_until_it_is_undrained(world: World) -> None:
    judicator, executor = world.judicator(), world.executor()

    def draining() -> bool:
        return [view.draining for view in world.ask(judicator, ListExecutors()).executors] == [True]

    unknown = world.ask(judicator, DrainExecutor(executor="nobody"))
    assert unknown.code == "not_found"

    def is_ordered() -> bool:
        """It is connected before the judicator has seen it among the members."""
        answer = world.ask(judicator, DrainExecutor(executor=executor.name))
        return isinstance(answer, DrainOrdered) and answer.draining

    wait_until(is_ordered, what="the order")
    wait_until(draining, what="the report")
    (id,) = world.submit(judicator, world.new())
    assert not world.drained.is_set()
    world.ask(judicator, DrainExecutor(executor=executor.name, draining=False))
    assert world.finished(judicator, [id])[0].control.executor == executor.name
    assert not draining() and not world.drained.is_set()
