"""The waiting tasks: order, discarding, and buckets of equal demand."""

from __future__ import annotations

import random

from khala.core.scheduling.queue import TaskQueue, signature_of
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
