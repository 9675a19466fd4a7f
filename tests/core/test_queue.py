"""The waiting tasks: order, discarding, and buckets of equal demand."""

from __future__ import annotations

import random

from khala.core.scheduling.queue import MOST_COUNTED, TaskQueue, signature_of
from khala.core.task import Demand


def drained(queue: TaskQueue) -> list[str]:
    """All ids in the order of one bucket after the other's heads: by key over all buckets."""
    taken = []
    while len(queue):
        _, lane = min((queue.head(each), each) for each in queue.lanes())
        taken.append(queue.take(lane))
    return taken


def test_priority_then_age_then_id() -> None:
    """Higher priority first; within it the older one; ids make it total."""
    queue = TaskQueue()
    for task_id, priority, created_at in (("d", 0, 1.0), ("c", 0, 2.0), ("b", 5, 9.0), ("a", 0, 2.0)):
        queue.push(task_id, Demand(priority=priority, created_at=created_at))
    assert drained(queue) == ["b", "d", "a", "c"]


def test_equal_needs_share_a_bucket() -> None:
    """Priority and age do not make another bucket; needs and suspicion do."""
    plain = signature_of(Demand(priority=1, created_at=3.0), suspect=False)
    assert plain == signature_of(Demand(priority=9), suspect=False)
    others = (Demand(cpus=2.0), Demand(memory_bytes=1), Demand(constraints={"os": "linux"}))
    assert all(signature_of(demand, suspect=False) != plain for demand in others)
    assert signature_of(Demand(), suspect=True) != plain


def test_discard_and_push_again() -> None:
    """What was discarded is not taken; pushed again, it is taken once, where it now belongs."""
    queue = TaskQueue()
    for task_id in "abc":
        queue.push(task_id, Demand(created_at=ord(task_id)))
    queue.discard("a")
    queue.discard("nobody")
    assert "a" not in queue
    assert len(queue) == 2
    queue.push("a", Demand(created_at=ord("a")))
    queue.push("a", Demand(created_at=ord("a")))
    queue.push("c", Demand(priority=1, created_at=ord("c")), suspect=True)
    assert drained(queue) == ["c", "a", "b"]


def test_against_a_sorted_list() -> None:
    """Random pushes, moves and discards leave what a plain sort would leave."""
    rng = random.Random(5)
    queue, model = TaskQueue(), {}
    for _ in range(2_000):
        task_id = str(rng.randrange(60))
        if rng.random() < 0.4:
            queue.discard(task_id)
            model.pop(task_id, None)
        else:
            demand = Demand(
                priority=rng.randrange(3), created_at=float(rng.randrange(9)), cpus=rng.choice((1.0, 2.0))
            )
            queue.push(task_id, demand, suspect=False)
            model[task_id] = (-demand.priority, demand.created_at, task_id)
    assert len(queue) == len(model)
    assert drained(queue) == sorted(model, key=model.__getitem__)


def test_an_empty_bucket_is_dropped() -> None:
    """A kind of demand that nobody waits with is not looked at."""
    queue = TaskQueue()
    queue.push("a", Demand(cpus=3.0))
    queue.discard("a")
    assert list(queue.lanes()) == []
    assert not queue._lanes


def test_the_place_counts_ones_owners_tasks_of_all_lanes() -> None:
    """By priority, then age; what was discarded or belongs to others does not come before."""
    queue = TaskQueue()
    for number in range(40):
        lane = {"cpus": float(number % 3), "priority": number % 2, "created_at": float(number)}
        queue.push(f"a{number}", Demand(owner="a", **lane))
        queue.push(f"b{number}", Demand(owner="b", **lane))
    queue.discard("a1")
    place = queue.place("a38")
    assert (place.before, place.exact, place.waiting) == (19 + 19, True, 79)
    assert queue.place("a3").before == 0
    nobody = queue.place("a1")
    assert (nobody.before, nobody.waiting) == (None, 79)


def test_the_place_among_very_many_is_estimated_within_bounds() -> None:
    """Only so many are looked at, in lanes of any size, and the estimate is near."""
    rng, queue = random.Random(7), TaskQueue()
    many = 5 * MOST_COUNTED
    for number in rng.sample(range(many), many):
        rare = number % 7 == 0
        queue.push(str(number), Demand(created_at=float(number), cpus=float(number) if rare else 1.0))
    for number in (0, many // 3, many - 1):
        place = queue.place(str(number))
        assert not place.exact
        assert place.before is not None and abs(place.before - number) < many / 20
