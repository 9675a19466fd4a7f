"""Why a task waits: agrees with placement, names everything, stays short."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khala.core.commands import ExecutorView, QueuePlace
from khala.core.dependencies import Dependency
from khala.core.scheduling.explaining import NO_EXECUTOR, obstacles, why_held, why_stuck, why_waiting
from khala.core.scheduling.placement import Room
from khala.core.scheduling.queue import signature_of
from khala.core.task import Demand, Isolation, State, TaskControl


def executor(name: str = "e1", **changes: object) -> ExecutorView:
    plain = {"slots": 2, "cpus": 2.0, "isolation": ("none", "basic")}
    return ExecutorView(executor=name, incarnation="i", **{**plain, **changes})  # type: ignore[arg-type]


def test_each_obstacle_is_named() -> None:
    demand = Demand(
        cpus=4.0,
        memory_bytes=100,
        isolation=Isolation.STRICT,
        constraints={"gpu": "a", "zone": "x", "os": "l"},
    )
    worst = executor(memory_bytes=50, draining=True, labels={"gpu": "b", "os": "l"})
    assert obstacles(demand, worst) == (
        "is draining", "has 2 of 4 cpus", "has 50 bytes of memory, not 100 bytes",
        "does not hold isolation strict",
        "has label 'gpu' as 'b', not 'a'", "has no label 'zone'",
    )  # fmt: skip
    assert obstacles(Demand(), executor(slots=0)) == ("has not reported yet",)
    assert obstacles(Demand(memory_bytes=100), executor(memory_bytes=0)) == (), "0: memory is not counted"


def test_the_reason_of_a_task_that_nothing_can_take() -> None:
    assert why_stuck(Demand(), []) == NO_EXECUTOR
    assert why_stuck(Demand(), [executor()]) == ""
    small = [executor(f"e{n}", cpus=float(n)) for n in (3, 1, 2)]
    assert why_stuck(Demand(cpus=8), small) == (
        "no executor can take it: e1 has 1 of 8 cpus; e2 has 2 of 8 cpus; e3 has 3 of 8 cpus"
    )
    many = [executor(f"e{n:04}") for n in range(1000)]
    assert why_stuck(Demand(cpus=8), many).endswith("e0002 has 2 of 8 cpus; and 997 more")
    assert why_stuck(Demand(cpus=3), small) == ""


def test_the_reason_of_a_task_that_waits_for_room() -> None:
    two = [executor("e1"), executor("e2", draining=True)]
    assert why_waiting(Demand(), two) == "waits for room or for its turn: 1 of 2 executors can take it"
    assert why_waiting(Demand(cpus=9), two).startswith("no executor can take it: e1")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (QueuePlace(task_id="t"), ""),
        (QueuePlace(task_id="t", before=0), "; it is the first of its owner's"),
        (QueuePlace(task_id="t", before=1), "; 1 task of its owner comes before it"),
        (QueuePlace(task_id="t", before=3187), "; 3,187 tasks of its owner come before it"),
        (
            QueuePlace(task_id="t", before=3187, exact=False),
            "; about 3,200 tasks of its owner come before it",
        ),
        (QueuePlace(task_id="t", before=0, exact=False), "; about 0 tasks of its owner come before it"),
    ],
)
def test_the_place_in_the_queue_is_told(place: QueuePlace, told: str) -> None:
    assert why_waiting(Demand(), [executor()], place) == why_waiting(Demand(), [executor()]) + told
    assert why_waiting(Demand(cpus=9), [executor()], place) == why_stuck(Demand(cpus=9), [executor()])


def test_what_keeps_a_task_out_of_the_queue() -> None:
    others = [f"{number:024x}" for number in range(5)]
    demand = Demand(depends_on=tuple(Dependency(task_id=other) for other in others))
    ended = dict.fromkeys(others, State.SUCCEEDED)
    assert why_held(TaskControl(), demand, ended, 5.0) == ""
    assert why_held(TaskControl(), demand, {}, 5.0) == "", "purged ones have ended"
    one = ended | {others[1]: State.RUNNING}
    assert why_held(TaskControl(), demand, one, 5.0) == f"it waits for 1 of 5 tasks: {others[1]} is running"
    all_open = dict.fromkeys(others, State.PENDING)
    told = why_held(TaskControl(not_before=9.0), demand, all_open, 5.0)
    assert told.startswith("it is tried again in 4 s; it waits for 5 of 5 tasks: 0000")
    assert told.endswith(f"{others[2]} is pending, and 2 more")


LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"))
DEMANDS = st.builds(
    Demand,
    cpus=st.sampled_from([0.5, 1.0, 4.0]),
    memory_bytes=st.sampled_from([0, 10, 1000]),
    constraints=LABELS,
    isolation=st.sampled_from(Isolation),
)


@settings(deadline=None, database=None)
@given(
    demand=DEMANDS,
    slots=st.integers(0, 2),
    cpus=st.sampled_from([0.5, 2.0]),
    memory_bytes=st.sampled_from([0, 100]),
    labels=LABELS,
    isolation=st.sets(st.sampled_from(Isolation)),
    draining=st.booleans(),
)
def test_as_placement_has_it(
    demand: Demand, draining: bool, isolation: set[Isolation], **offers: object
) -> None:
    view = executor(isolation=tuple(isolation), draining=draining, **offers)
    room = Room(isolation=frozenset(isolation), open=not draining, **offers)  # type: ignore[arg-type]
    could = room.open and room.could_ever_fit(signature_of(demand, suspect=False))
    assert (obstacles(demand, view) == ()) is could
