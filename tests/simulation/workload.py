"""What a simulated cluster is asked to do: executors of different sizes, and tasks that differ in
everything that scheduling looks at. Every task fits on the first executor.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulation.clockwork import Clockwork
from simulation.processes import COMPILES, FAILS, POISON

from khala.core.dependencies import Condition, Dependency
from khala.core.execution.holdings import Capacity
from khala.core.task import RETRY_ON, ExitReason, OnDisconnect, Resources, Task, TaskControl, TaskSpec

MEMORY_BYTES = 1_000
LABELS = {"disk": "fast"}


def capacities(clockwork: Clockwork, count: int) -> list[tuple[Capacity, dict[str, str]]]:
    """The executors' capacities and labels; the first can run anything."""
    rng = clockwork.rng
    made = [(Capacity(slots=rng.choice((2, 3)), cpus=2.0, memory_bytes=MEMORY_BYTES), LABELS)]
    for _ in range(count - 1):
        memory_bytes = rng.choice((0, MEMORY_BYTES, MEMORY_BYTES // 2))
        capacity = Capacity(
            slots=rng.choice((1, 1, 2)), cpus=rng.choice((1.0, 1.0, 2.0)), memory_bytes=memory_bytes
        )
        made.append((capacity, rng.choice(({}, LABELS))))
    return made


@dataclass(frozen=True, slots=True)
class Habit:
    """What most tasks of a world are like: each a probability. A slot is given so many `ahead`."""

    stop: float
    gated: float
    long: float
    alike: float
    ahead: int


def habit(clockwork: Clockwork) -> Habit:
    """One world's habit."""
    choice = clockwork.rng.choice
    return Habit(
        stop=choice((0.3, 0.9)),
        gated=choice((0.2, 0.8)),
        long=choice((0.1, 0.3, 0.6)),
        alike=choice((0.0, 0.9)),
        ahead=choice((0, 1, 4)),
    )


def make_task(clockwork: Clockwork, habit: Habit, number: int, at_s: float) -> Task:
    """One task; its id follows from its key."""
    rng = clockwork.rng
    kind = rng.choice(("", "", "", "", COMPILES, COMPILES, FAILS))
    max_attempts = 1 if clockwork.chance(habit.gated) else rng.choice((2, 2, 3, 5))
    if clockwork.chance(0.02):
        kind, max_attempts = POISON, 9
    task_id = f"{number:024x}"
    spec = TaskSpec(
        name=f"key-{task_id}",
        priority=rng.choice((0, 0, 0, 5)),
        labels={"kind": kind},
        resources=_resources(clockwork, habit),
        constraints=rng.choice(({}, {}, {}, LABELS)),
        max_attempts=max_attempts,
        on_disconnect=OnDisconnect.STOP if clockwork.chance(habit.stop) else OnDisconnect.CONTINUE,
        retry_on=rng.choice((RETRY_ON, RETRY_ON, (), (*RETRY_ON, ExitReason.EXITED))),
        backoff_s=rng.choice((0.0, 0.0, 0.5, 3.0)),
        queue_timeout_s=rng.choice((None, None, None, None, 2.0, 15.0)),
        depends_on=_earlier(clockwork, number),
    )
    bound = rng.choice((0, 0, 0, 2))
    return Task(
        id=task_id,
        spec=spec,
        owner=rng.choice(("ann", "ann", "bob")),
        job_id="f" * 24 if bound else "",
        max_parallel=bound,
        created_at=at_s,
        request_digest=task_id,
        control=TaskControl(queued_at=at_s),
    )


def _earlier(clockwork: Clockwork, number: int) -> tuple[Dependency, ...]:
    """Now and then a task waits for one or two of those before it, which may be stored later than it is."""
    if number < 3 or not clockwork.chance(0.25):
        return ()
    others = clockwork.rng.sample(range(1, number), clockwork.rng.choice((1, 2)))
    conditions = (Condition.FINISHED, Condition.FINISHED, Condition.SUCCEEDED, Condition.FAILED)
    return tuple(
        Dependency(task_id=f"{other:024x}", condition=clockwork.rng.choice(conditions)) for other in others
    )


def _resources(clockwork: Clockwork, habit: Habit) -> Resources:
    if clockwork.chance(habit.alike):
        return Resources(cpus=1.0)
    return Resources(
        cpus=clockwork.rng.choice((0.5, 1.0, 1.0, 1.0, 2.0)),
        memory_bytes=clockwork.rng.choice((0, 0, MEMORY_BYTES // 2, MEMORY_BYTES)),
    )


def duration_s(clockwork: Clockwork, habit: Habit, spec: TaskSpec) -> float:
    """How long an attempt runs: mostly short, some longer than a lease."""
    if spec.labels.get("kind") == POISON:
        return clockwork.between(0.2, 1.0)
    if clockwork.chance(habit.long):
        return clockwork.between(3.0, 9.0) if clockwork.chance(0.7) else clockwork.between(8.0, 15.0)
    return clockwork.between(0.02, 1.2)
