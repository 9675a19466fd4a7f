"""The waiting tasks, ordered by priority, then age, in one heap for each kind of demand.

Tasks with equal needs share a bucket, so that a pass which finds no room for the first of a bucket
need not look at the other hundred thousand.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping

from khala.core.task import Demand

Signature = tuple[float, int, bool, str, tuple[tuple[str, str], ...]]
Key = tuple[int, float, str]


def signature_of(demand: Demand, suspect: bool) -> Signature:
    """Tasks of equal signature fit, or do not fit, on the same executors."""
    constraints = tuple(sorted(demand.constraints.items()))
    return (demand.cpus, demand.memory_bytes, suspect, demand.isolation, constraints)


class TaskQueue:
    """Push, discard and take in priority order; discarding is lazy, so each costs O(log n)."""

    def __init__(self) -> None:
        self._buckets: dict[Signature, list[Key]] = {}
        self._waiting: dict[str, tuple[Signature, Key]] = {}
        self._by_priority: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._waiting

    def push(self, task_id: str, demand: Demand, *, suspect: bool = False) -> None:
        """Add a task, or move it if it waits already."""
        signature = signature_of(demand, suspect)
        key = (-demand.priority, demand.created_at, task_id)
        if self._waiting.get(task_id) == (signature, key):
            return
        self.discard(task_id)
        self._waiting[task_id] = (signature, key)
        self._by_priority[demand.priority] += 1
        heapq.heappush(self._buckets.setdefault(signature, []), key)

    def discard(self, task_id: str) -> None:
        """Forget a task, if it waits."""
        waited = self._waiting.pop(task_id, None)
        if waited is not None:
            self._left(waited[1])

    def signatures(self) -> Iterator[Signature]:
        """The kinds of demand that wait now."""
        for signature in list(self._buckets):
            if self.head(signature) is not None:
                yield signature

    def head(self, signature: Signature) -> Key | None:
        """The first of a bucket, which stays; an empty bucket is dropped."""
        bucket = self._buckets.get(signature)
        while bucket:
            key = bucket[0]
            if self._waiting.get(key[2]) == (signature, key):
                return key
            heapq.heappop(bucket)
        self._buckets.pop(signature, None)
        return None

    def take(self, signature: Signature) -> str:
        """Remove the first of a bucket and return its id; the bucket must have one."""
        key = self.head(signature)
        if key is None:
            raise LookupError(f"nothing waits for {signature}")
        heapq.heappop(self._buckets[signature])
        del self._waiting[key[2]]
        self._left(key)
        return key[2]

    def depths(self) -> Mapping[int, int]:
        """How many wait, by priority."""
        return self._by_priority

    def _left(self, key: Key) -> None:
        self._by_priority[-key[0]] -= 1
        if not self._by_priority[-key[0]]:
            del self._by_priority[-key[0]]
