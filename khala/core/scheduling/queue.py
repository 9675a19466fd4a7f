"""The waiting tasks, ordered by priority, then age, in one heap for each lane.

Tasks of one owner with equal needs share a lane, and so do those of a job that bounds how many of them run.
A pass that finds no room for the first of a lane need not look at the other hundred thousand.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping

from khala.core.commands import QueuePlace
from khala.core.task import Demand

MOST_COUNTED = 4_096
Signature = tuple[float, int, bool, str, tuple[tuple[str, str], ...]]
Key = tuple[int, float, str]
Lane = tuple[Signature, str, str, int]
"""What its tasks need, their owner, and their job and its bound where it has one."""


def signature_of(demand: Demand, suspect: bool) -> Signature:
    """Tasks of equal signature fit, or do not fit, on the same executors."""
    constraints = tuple(sorted(demand.constraints.items()))
    return (demand.cpus, demand.memory_bytes, suspect, demand.isolation, constraints)


def lane_of(demand: Demand, suspect: bool) -> Lane:
    """Which lane a task waits in."""
    job_id = demand.job_id if demand.max_parallel else ""
    return (signature_of(demand, suspect), demand.owner, job_id, demand.max_parallel)


class TaskQueue:
    """Push, discard and take in priority order; discarding is lazy, so each costs O(log n)."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, list[Key]] = {}
        self._known: dict[Lane, Lane] = {}  # each of them once, not once for each of its tasks
        self._waiting: dict[str, tuple[Lane, Key]] = {}
        self._by_priority: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._waiting

    def push(self, task_id: str, demand: Demand, *, suspect: bool = False) -> None:
        """Add a task, or move it if it waits already."""
        lane = lane_of(demand, suspect)
        lane = self._known.setdefault(lane, lane)
        key = (-demand.priority, demand.created_at, task_id)
        if self._waiting.get(task_id) == (lane, key):
            return
        self.discard(task_id)
        self._waiting[task_id] = (lane, key)
        self._by_priority[demand.priority] += 1
        heapq.heappush(self._lanes.setdefault(lane, []), key)

    def discard(self, task_id: str) -> None:
        """Forget a task, if it waits."""
        waited = self._waiting.pop(task_id, None)
        if waited is not None:
            self._left(waited[1])

    def lanes(self) -> Iterator[Lane]:
        """The lanes that have a task."""
        for lane in list(self._lanes):
            if self.head(lane) is not None:
                yield lane

    def head(self, lane: Lane) -> Key | None:
        """The first of a lane, which stays; an empty lane is dropped."""
        keys = self._lanes.get(lane)
        while keys:
            key = keys[0]
            if self._waiting.get(key[2]) == (lane, key):
                return key
            heapq.heappop(keys)
        self._lanes.pop(lane, None)
        self._known.pop(lane, None)
        return None

    def take(self, lane: Lane) -> str:
        """Remove the first of a lane and return its id; there must be one."""
        key = self.head(lane)
        if key is None:
            raise LookupError(f"nothing waits for {lane}")
        heapq.heappop(self._lanes[lane])
        del self._waiting[key[2]]
        self._left(key)
        return key[2]

    def depths(self) -> Mapping[int, int]:
        """How many wait, by priority."""
        return self._by_priority

    def place(self, task_id: str) -> QueuePlace:
        """Where a task stands among its owner's; owners take turns, so others' do not come before it.

        Counted up to `MOST_COUNTED` tasks; of more, each so many-th is looked at and stands for the rest.
        """
        waited = self._waiting.get(task_id)
        if waited is None:
            return QueuePlace(task_id=task_id, waiting=len(self))
        (_, owner, *_), mine = waited
        lanes = [(lane, keys) for lane, keys in self._lanes.items() if lane[1] == owner]
        step = -(-sum(len(keys) for _, keys in lanes) // MOST_COUNTED)
        before, skip = 0, 0
        for lane, keys in lanes:
            looked_at = keys[skip::step]
            skip += len(looked_at) * step - len(keys)
            before += sum(key < mine and self._waiting.get(key[2]) == (lane, key) for key in looked_at)
        return QueuePlace(task_id=task_id, before=before * step, exact=step == 1, waiting=len(self))

    def _left(self, key: Key) -> None:
        self._by_priority[-key[0]] -= 1
        if not self._by_priority[-key[0]]:
            del self._by_priority[-key[0]]
