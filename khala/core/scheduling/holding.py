"""What keeps pending tasks out of the queue: a back-off, and tasks that must end before; and for how long a
task may wait at all. Pure.

Nothing here is stored: a new leader finds it again in the tasks. Each task that others wait for is looked up
once in the store, unless the leader holds it; so nothing goes over all tasks.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Container, Iterator, Mapping

from khala.core.task import TERMINAL, Demand, State, TaskControl

LOOK_AGAIN_S = 2.0
LOOKED_UP_AT_ONCE = 1_000
MISSING_FOR_S = 60.0
"""A task that others wait for may come later than they: it was stored by the same request."""


class Holding:
    """Times are Unix seconds. `released` may be queued, or end, if they still wait."""

    def __init__(self) -> None:
        self.released: deque[str] = deque()
        self.doomed: dict[str, str] = {}
        self._timers: list[tuple[float, str]] = []
        self._waiting: dict[str, dict[str, Demand]] = {}
        self._unmet: dict[str, set[str]] = {}
        self._unknown: dict[str, float] = {}

    def admit(
        self, task_id: str, control: TaskControl, demand: Demand, held: Container[str], now: float
    ) -> bool:
        """May this pending task be queued now? If not, it is released later. `held` are unfinished tasks."""
        due = timeout_of(control, demand)
        if due is not None:
            heapq.heappush(self._timers, (due, task_id))
        if control.not_before > now:
            heapq.heappush(self._timers, (control.not_before, task_id))
            return False
        if task_id in self._unmet:
            return not self._unmet[task_id]
        if not demand.depends_on:
            return True
        self._unmet[task_id] = {each.task_id for each in demand.depends_on}
        for other in self._unmet[task_id]:
            self._waiting.setdefault(other, {})[task_id] = demand
            if other not in held:
                self._unknown.setdefault(other, float("-inf"))
        return False

    def leave(self, task_id: str) -> None:
        """It is not pending any more."""
        self.doomed.pop(task_id, None)
        for other in self._unmet.pop(task_id, ()):
            waiting = self._waiting.get(other, {})
            waiting.pop(task_id, None)
            if not waiting:
                self._waiting.pop(other, None)
                self._unknown.pop(other, None)

    def finished(self, other: str, state: State) -> None:
        """A task ended; those that wait for it are released, or cannot start any more."""
        self._unknown.pop(other, None)
        for task_id, demand in self._waiting.pop(other, {}).items():
            unmet = self._unmet[task_id]
            unmet.discard(other)
            if not all(each.is_met_by(state) for each in demand.depends_on if each.task_id == other):
                self.doomed[task_id] = f"task {other}, which it depends on, is {state}"
            elif not unmet and task_id not in self.doomed:
                self.released.append(task_id)

    def looked_up(
        self, asked: list[str] | tuple[str, ...], found: Mapping[str, State], held: Container[str], now: float
    ) -> None:
        """What the store says of tasks that are waited for."""
        for other in asked:
            state = found.get(other)
            if state in TERMINAL and state is not None:
                self.finished(other, state)
            elif state is not None and other in held:
                self._unknown.pop(other, None)
            elif state is None:
                for task_id, demand in self._waiting.get(other, {}).items():
                    if now - demand.created_at > MISSING_FOR_S:
                        self.doomed[task_id] = f"task {other}, which it depends on, does not exist"

    def to_look_up(self, now: float) -> tuple[str, ...]:
        """What to ask the store now."""
        late = now - LOOK_AGAIN_S
        wanted = []
        for other, asked_at in self._unknown.items():
            if asked_at <= late:
                wanted.append(other)
                if len(wanted) == LOOKED_UP_AT_ONCE:
                    break
        for other in wanted:
            self._unknown[other] = now
        return tuple(wanted)

    def due(self, now: float) -> Iterator[str]:
        """Tasks whose time has come: a back-off is over, or they have waited too long."""
        while self._timers and self._timers[0][0] <= now:
            yield heapq.heappop(self._timers)[1]


def timeout_of(control: TaskControl, demand: Demand) -> float | None:
    """When a pending task has waited for too long; counted from its last coming into the queue."""
    if demand.queue_timeout_s is None:
        return None
    return max(control.queued_at, control.not_before) + demand.queue_timeout_s
