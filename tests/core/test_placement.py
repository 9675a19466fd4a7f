"""Which task goes where: fitting, spreading, working ahead, suspects, and what a full cluster costs."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from khala.core.scheduling.placement import AHEAD_MAX_PER_SLOT, Room, place
from khala.core.scheduling.queue import TaskQueue, signature_of
from khala.core.scheduling.shares import Shares
from khala.core.task import Demand


def room(slots: int = 2, cpus: float = 8.0, memory_bytes: int = 0, **labels: str) -> Room:
    """An open room."""
    return Room(slots=slots, cpus=cpus, memory_bytes=memory_bytes, labels=labels, open=True)


def placed(
    tasks: dict[str, Demand], rooms: dict[str, Room], limit: int = 1_000, suspects: str = ""
) -> list[tuple[str, str]]:
    """Place, counting each into its room as the scheduler does."""
    queue = TaskQueue()
    for task_id, demand in tasks.items():
        queue.push(task_id, demand, suspect=task_id in suspects)
    chosen = []
    for task_id, name in place(queue, rooms.items(), limit, Shares(), 0.0):
        rooms[name].take(tasks[task_id], suspect=task_id in suspects)
        chosen.append((task_id, name))
    assert len(queue) == len(tasks) - len(chosen)
    return chosen


def many(number: int, **needs: object) -> dict[str, Demand]:
    """Equal tasks, one older than the next."""
    return {f"t{n:04}": Demand(created_at=float(n), **needs) for n in range(number)}


def test_by_priority_then_age_over_all_kinds() -> None:
    """Different needs do not disturb the order."""
    tasks = {
        "old": Demand(created_at=1.0),
        "wide": Demand(created_at=2.0, cpus=2.0),
        "urgent": Demand(created_at=3.0, priority=1),
        "new": Demand(created_at=4.0, cpus=2.0),
    }
    assert [task for task, _ in placed(tasks, {"e": room(slots=9)})] == ["urgent", "old", "wide", "new"]


@pytest.mark.parametrize(
    ("demand", "offer", "fits"),
    [
        (Demand(cpus=8.0), room(), True),
        (Demand(cpus=8.5), room(), False),
        (Demand(memory_bytes=10), room(memory_bytes=10), True),
        (Demand(memory_bytes=11), room(memory_bytes=10), False),
        (Demand(memory_bytes=11), room(memory_bytes=0), True),
        (Demand(constraints={"os": "linux"}), room(os="linux", disk="fast"), True),
        (Demand(constraints={"os": "linux", "gpu": "1"}), room(os="linux"), False),
        (Demand(constraints={"os": "linux"}), room(os="plan9"), False),
        (Demand(), room(slots=0), False),
        (Demand(), Room(slots=2, cpus=8.0, open=False), False),
    ],
)
def test_where_it_could_ever_fit(demand: Demand, offer: Room, fits: bool) -> None:
    """cpus, memory (0 is not counted), labels, slots, and only rooms that are open."""
    assert bool(placed({"t": demand}, {"e": offer})) == fits


def test_spreads_over_free_executors() -> None:
    """The emptiest takes the next one; nobody works ahead while somebody is free."""
    rooms = {"a": room(slots=4), "b": room(slots=4), "c": room(slots=2)}
    chosen = Counter(name for _, name in placed(many(10), rooms))
    assert chosen == {"a": 4, "b": 4, "c": 2}
    first_three = [name for _, name in placed(many(3), {"a": room(), "b": room(), "c": room()})]
    assert sorted(first_three) == ["a", "b", "c"]


def test_cpus_and_memory_fill_up_before_slots() -> None:
    """Beyond them tasks are only held ahead, up to the limit."""
    rooms = {"e": room(slots=4, cpus=2.0, memory_bytes=100)}
    signature = signature_of(Demand(memory_bytes=50), suspect=False)
    rooms["e"].take(Demand(memory_bytes=60), suspect=False)
    assert not rooms["e"].fits_now(signature)
    assert rooms["e"].fits_ahead(signature)
    assert len(placed(many(20), rooms)) == 7


def test_the_ahead_limit_follows_the_pace() -> None:
    """Slots are the least, a second of work is the wish, and 512 a slot the most."""
    for pace_per_s, ahead in ((0.0, 2), (1.5, 2), (30.0, 30), (1e6, 2 * AHEAD_MAX_PER_SLOT)):
        offer = room()
        offer.pace_per_s = pace_per_s
        assert offer.ahead_limit() == ahead
        assert len(placed(many(2_000), {"e": offer})) == min(2 + ahead, 1_000)


def test_suspects_run_alone_and_never_ahead() -> None:
    """One suspect an executor at a time, beside ordinary tasks, only where there is room now."""
    rooms = {"a": room(), "b": room()}
    assert sorted(placed(many(5), rooms, suspects="t0000t0001t0002t0003t0004")) == [
        ("t0000", "a"),
        ("t0001", "b"),
    ]
    assert rooms["a"].suspects == 1
    full = room(slots=1)
    full.take(Demand(), suspect=False)
    assert placed(many(1), {"e": full}, suspects="t0000") == []
    assert len(placed(many(1), {"e": full})) == 1


def test_giving_back_makes_room() -> None:
    """take and give_back cancel out."""
    offer, demand = room(slots=1), Demand(cpus=2.0, memory_bytes=5)
    before = room(slots=1)
    offer.take(demand, suspect=True)
    offer.give_back(demand, suspect=True)
    assert offer == before


def test_the_limit_of_a_pass() -> None:
    """A pass stops there; the rest waits in its order."""
    assert [task for task, _ in placed(many(50), {"e": room(slots=50, cpus=50.0)}, limit=3)] == [
        "t0000",
        "t0001",
        "t0002",
    ]


def test_a_huge_bucket_without_room_costs_nothing() -> None:
    """100,000 tasks that fit nowhere do not slow down the one behind them, and stay in order."""
    queue = TaskQueue()
    for n in range(100_000):
        queue.push(f"big{n}", Demand(priority=9, created_at=float(n), cpus=64.0))
    queue.push("small", Demand(created_at=1e9))
    offer = room()
    began = time.thread_time()
    assert list(place(queue, [("e", offer)], 1_000, Shares(), 0.0)) == [("small", "e")]
    assert time.thread_time() - began < 0.05
    assert len(queue) == 100_000
