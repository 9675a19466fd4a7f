"""What the leader keeps of each task."""

from __future__ import annotations

import tracemalloc

from khala.core.instant import Instant
from khala.core.scheduling.ledger import Ledger
from khala.core.task import Demand, Epoch, TaskControl

MOST_BYTES = 700
"""For a task that waits; Python's own count, without what the allocator loses."""


def ledger() -> Ledger:
    return Ledger(epoch=Epoch(1, 1), leader="j1", lease_s=3.0, at=Instant(boot_s=1.0, unix_s=1e9))


def of_a_request(at: float) -> tuple[TaskControl, Demand]:
    """As they come out of a message: objects of their own, equal to those of their neighbours."""
    return TaskControl(queued_at=float(str(at))), Demand(
        created_at=float(str(at)), cpus=float("0.5"), constraints={"gpu": "yes"}, owner=f"{'anna'}"
    )


def test_a_waiting_task_takes_little() -> None:
    """A million of them must fit into a judicator."""
    found, count = ledger(), 5_000
    tracemalloc.start()
    try:
        for number in range(count):
            found.adopt(f"{number:024x}", *of_a_request(1e9 + number // 1_000))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.queue) == count
    assert taken / count < MOST_BYTES


def test_what_is_shared_is_equal() -> None:
    """Whatever comes between them, each task keeps what was said of it."""
    found, said = ledger(), {}
    for number, at in enumerate((1.0, 1.0, 2.0, 1.0, 2.0, 2.0)):
        task_id = f"{number:024x}"
        control, demand = said[task_id] = of_a_request(at)
        found.adopt(task_id, control, demand)
    assert {each.task_id: (each.control, each.demand) for each in found.entries.values()} == said
    first, second, *_ = found.entries.values()
    assert first.demand is second.demand
    assert first.control is second.control
