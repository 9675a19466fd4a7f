"""Why a task waits: what keeps it out of the queue, and from each executor for good. Pure.

Computed where somebody asks, from the leader's view of its executors, so that a million waiting tasks
cost no write. It follows `Room.could_ever_fit`; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from khala.core.commands import ExecutorView, QueuePlace
from khala.core.dependencies import Dependency
from khala.core.task import TERMINAL, Demand, State, TaskControl
from khala.sizes import shown_size

EXAMPLES = 3
NO_EXECUTOR = "no executor is connected"


def obstacles(demand: Demand, executor: ExecutorView) -> tuple[str, ...]:
    """Why this executor would not take the task if it were idle; nothing if it would."""
    found = []
    if not executor.slots:
        found.append("has not reported yet")
    if executor.draining:
        found.append("is draining")
    if demand.cpus > executor.cpus:
        found.append(f"has {executor.cpus:g} of {demand.cpus:g} cpus")
    if executor.memory_bytes and demand.memory_bytes > executor.memory_bytes:
        has, asked = shown_size(executor.memory_bytes), shown_size(demand.memory_bytes)
        found.append(f"has {has} of memory, not {asked}")
    if demand.isolation not in executor.isolation:
        found.append(f"does not hold isolation {demand.isolation}")
    for name, wanted in sorted(demand.constraints.items()):
        if name not in executor.labels:
            found.append(f"has no label {name!r}")
        elif executor.labels[name] != wanted:
            found.append(f"has label {name!r} as {executor.labels[name]!r}, not {wanted!r}")
    return tuple(found)


def unfinished(demand: Demand, states: Mapping[str, State]) -> tuple[Dependency, ...]:
    """What the task still waits for. `states` are those of the tasks that can be read: one that cannot was
    purged, so it has ended."""
    return tuple(
        each for each in demand.depends_on if states.get(each.task_id, State.SUCCEEDED) not in TERMINAL
    )


def why_held(control: TaskControl, demand: Demand, states: Mapping[str, State], now: float) -> str:
    """Why a pending task is not in the queue; "" if it is. `now` is Unix seconds."""
    told = []
    if control.not_before > now:
        told.append(f"it is tried again in {control.not_before - now:.0f} s")
    waits = unfinished(demand, states)
    if waits:
        named = [f"{each.task_id} is {states[each.task_id]}" for each in waits[:EXAMPLES]]
        more = f", and {len(waits) - EXAMPLES} more" if len(waits) > EXAMPLES else ""
        told.append(f"it waits for {len(waits)} of {len(demand.depends_on)} tasks: {', '.join(named)}{more}")
    return "; ".join(told)


def why_stuck(demand: Demand, executors: Sequence[ExecutorView]) -> str:
    """Why no executor will ever take the task as things are; "" if one could."""
    if not executors:
        return NO_EXECUTOR
    told = []
    for executor in sorted(executors, key=lambda each: each.executor):
        why = obstacles(demand, executor)
        if not why:
            return ""
        told.append(f"{executor.executor} {', '.join(why)}")
    more = len(told) - EXAMPLES
    shown = "; ".join(told[:EXAMPLES]) + (f"; and {more} more" if more > 0 else "")
    return f"no executor can take it: {shown}"


def why_waiting(demand: Demand, executors: Sequence[ExecutorView], place: QueuePlace | None = None) -> str:
    """Why the task is not placed at this moment, and behind how many others; never empty."""
    stuck = why_stuck(demand, executors)
    if stuck:
        return stuck
    able = sum(not obstacles(demand, executor) for executor in executors)
    turn = f"waits for room or for its turn: {able} of {len(executors)} executors can take it"
    return f"{turn}; {rank}" if (rank := _rank(place)) else turn


def _rank(place: QueuePlace | None) -> str:
    """In words, how many come before a task; what was not counted is told with two digits."""
    if place is None or place.before is None:
        return ""
    if not place.exact:
        return f"about {float(f'{place.before:.1e}'):,.0f} tasks of its owner come before it"
    if not place.before:
        return "it is the first of its owner's"
    one = place.before == 1
    return f"{place.before:,} task{'' if one else 's'} of its owner come{'s' if one else ''} before it"
