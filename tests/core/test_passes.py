"""The leader's passes over the queue: short ones, and none that reads again what it was told."""

from __future__ import annotations

from core.leader_bench import LeaderBench

from khala.core.effects import Effect, Save
from khala.core.messages import AssignTask, QueuedTask, TasksQueued
from khala.core.scheduling.assigning import PLACE_LIMIT
from khala.core.scheduling.ledger import SPECS_REMEMBERED
from khala.core.task import Command, Task, TaskSpec, demand_of


def queued(bench: LeaderBench, specs: list[TaskSpec]) -> None:
    """A hint that tells all of these tasks."""
    tasks = [Task(id=f"{number:024x}", spec=spec) for number, spec in enumerate(specs)]
    bench.store.insert(tasks)
    told = (QueuedTask(task_id=t.id, control=t.control, demand=demand_of(t), spec=t.spec) for t in tasks)
    bench.scheduler.handle(TasksQueued(tasks=tuple(told)), bench.now())


def saves(effects: list[Effect]) -> list[Save]:
    return [effect for effect in effects if isinstance(effect, Save)]


def echo(text: str) -> TaskSpec:
    return TaskSpec(execute=Command(argv=("echo", text)))


def test_a_pass_is_cut_short_and_the_next_one_goes_on() -> None:
    bench = LeaderBench()
    bench.join("e1", slots=4 * PLACE_LIMIT, cpus=4.0 * PLACE_LIMIT)
    queued(bench, [echo("same") for _ in range(PLACE_LIMIT + 50)])
    assert len(saves(bench.scheduler.assign(bench.now()))) == PLACE_LIMIT
    assert bench.scheduler.is_cut_short
    assert len(saves(bench.scheduler.assign(bench.now()))) == 50
    assert not bench.scheduler.is_cut_short
    assert not bench.scheduler.assign(bench.now())


def all_assigned(specs: list[TaskSpec]) -> tuple[dict[str, TaskSpec], int]:
    """What an executor with room for all of them is sent, and how many specifications the store was asked."""
    bench = LeaderBench()
    queued(bench, specs)
    bench.hold = True
    bench.join("e1", slots=4 * len(specs), cpus=4.0 * len(specs))
    while bench.scheduler.is_cut_short:
        bench.do([])
    read = sum(save.change.want_spec for save in bench.saving)
    bench.answer()
    return {order.task_id: order.spec for order in bench.take_sent(AssignTask)}, read


def test_equal_specifications_that_were_told_are_never_read_again() -> None:
    count = SPECS_REMEMBERED + 100
    sent, read = all_assigned([echo("same") for _ in range(count)])
    assert sent == {f"{number:024x}": echo("same") for number in range(count)}
    assert read == 0


def test_of_others_the_last_are_remembered_and_the_rest_is_read() -> None:
    count = SPECS_REMEMBERED + 100
    sent, read = all_assigned([echo(str(number)) for number in range(count)])
    assert sent == {f"{number:024x}": echo(str(number)) for number in range(count)}
    assert read == 100
