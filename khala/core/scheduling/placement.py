"""Which waiting task goes to which executor: whose owner used least, then priority, then age; the freest.

An executor has room *now* while slots, cpus and memory are free. Beyond that it takes a few tasks
*ahead*, so that its slots never idle for the length of a round trip; how many follows from how fast
it finishes them. A suspect (a task whose executor was lost while running it) is never sent ahead,
and an executor holds at most one (P12).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from khala.core.scheduling.queue import Signature, TaskQueue
from khala.core.scheduling.shares import Shares
from khala.core.task import Demand

AHEAD_S = 1.0
"""An executor is given about this many seconds of work ahead, at its recent pace."""
AHEAD_MAX_PER_SLOT = 512


@dataclass(slots=True)
class Room:
    """What an executor offers and what is taken of it. Counts both running and ahead attempts.

    `memory_bytes` 0 means that memory is not counted.
    """

    slots: int = 0
    cpus: float = 0.0
    memory_bytes: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    isolation: frozenset[str] = frozenset({"none", "basic"})
    open: bool = False
    taken_slots: int = 0
    taken_cpus: float = 0.0
    taken_memory_bytes: int = 0
    suspects: int = 0
    pace_per_s: float = 0.0
    refilling: bool = True

    def take(self, demand: Demand, *, suspect: bool) -> None:
        """Count an attempt in."""
        self.taken_slots += 1
        self.taken_cpus += demand.cpus
        self.taken_memory_bytes += demand.memory_bytes
        self.suspects += suspect
        if self.taken_slots >= self.slots + self.ahead_limit():
            self.refilling = False

    def give_back(self, demand: Demand, *, suspect: bool) -> None:
        """Count an attempt out."""
        self.taken_slots -= 1
        self.taken_cpus -= demand.cpus
        self.taken_memory_bytes -= demand.memory_bytes
        self.suspects -= suspect
        if self.taken_slots <= self.slots + self.ahead_limit() // 2:
            self.refilling = True

    def could_ever_fit(self, signature: Signature) -> bool:
        """Would it fit if the executor were empty?"""
        cpus, memory_bytes, _, isolation, constraints = signature
        return (
            self.slots > 0
            and cpus <= self.cpus
            and (not self.memory_bytes or memory_bytes <= self.memory_bytes)
            and isolation in self.isolation
            and all(self.labels.get(name) == value for name, value in constraints)
        )

    def fits_now(self, signature: Signature) -> bool:
        """Is there room this moment? (`could_ever_fit` is known to hold.)"""
        cpus, memory_bytes, suspect, _, _ = signature
        return (
            self.taken_slots < self.slots
            and self.taken_cpus + cpus <= self.cpus
            and (not self.memory_bytes or self.taken_memory_bytes + memory_bytes <= self.memory_bytes)
            and not (suspect and self.suspects)
        )

    def ahead_limit(self) -> int:
        """How many attempts beyond its slots this executor may hold."""
        wanted = max(self.slots, math.ceil(self.pace_per_s * AHEAD_S))
        return min(wanted, self.slots * AHEAD_MAX_PER_SLOT)

    def fits_ahead(self, signature: Signature) -> bool:
        """May it wait at the executor, to start as soon as there is room?

        A full executor is refilled only when half of what waited there has gone, so that assignments
        are saved and sent by the batch and not one by one.
        """
        room = self.taken_slots < self.slots + self.ahead_limit()
        return room and self.refilling and not signature[2]

    def rank(self, signature: Signature) -> tuple[int, float] | None:
        """Smaller is better; None if there is no room, not even ahead."""
        if self.fits_now(signature):
            return (0, self.taken_slots / self.slots)
        if self.fits_ahead(signature):
            return (1, self.taken_slots / self.slots)
        return None


class _Candidates:
    """The executors for one kind of demand, best first; ranks are checked again when popped."""

    def __init__(self, signature: Signature, rooms: Iterable[tuple[str, Room]]) -> None:
        self._signature = signature
        self._heap: list[tuple[tuple[int, float], str, Room]] = []
        for name, room in rooms:
            if room.open and room.could_ever_fit(signature):
                rank = room.rank(signature)
                if rank is not None:
                    self._heap.append((rank, name, room))
        heapq.heapify(self._heap)

    def best(self) -> tuple[str, Room] | None:
        """The best executor now, which stays a candidate."""
        while self._heap:
            rank, name, room = self._heap[0]
            now = room.rank(self._signature)
            if now == rank:
                return name, room
            if now is None:
                heapq.heappop(self._heap)
            else:
                heapq.heapreplace(self._heap, (now, name, room))
        return None


def place(
    queue: TaskQueue, rooms: Iterable[tuple[str, Room]], limit: int, shares: Shares, now: float
) -> Iterator[tuple[str, str]]:
    """Take up to `limit` tasks off the queue; yields (task id, executor name).

    The caller must count each task into the executor's room and its owner's share before asking for the
    next: that share decides who comes next.
    """
    rooms = list(rooms)
    heads = []
    for lane in queue.lanes():
        head = queue.head(lane)
        if head is not None:
            heads.append((shares.rank(lane[1], now), head, lane))
    heapq.heapify(heads)
    candidates: dict[Signature, _Candidates] = {}
    placed = 0
    while heads and placed < limit:
        rank, head, lane = heads[0]
        signature, owner, job_id, max_parallel = lane
        rank_now = shares.rank(owner, now)
        if rank_now != rank:
            heapq.heapreplace(heads, (rank_now, head, lane))
            continue
        heapq.heappop(heads)
        if not shares.may_take(owner, job_id, max_parallel):
            continue
        if signature not in candidates:
            candidates[signature] = _Candidates(signature, rooms)
        best = candidates[signature].best()
        if best is None:
            continue
        yield queue.take(lane), best[0]
        placed += 1
        following = queue.head(lane)
        if following is not None:
            heapq.heappush(heads, (shares.rank(owner, now), following, lane))
