"""Tasks that wait for others: what they may wait for, and whether that can still happen. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Condition(StrEnum):
    """How a task must have ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """Another task, and how it must have ended before this one may start."""

    task_id: str
    condition: Condition = Condition.SUCCEEDED

    def is_met_by(self, state: str) -> bool:
        """Does this end of the other task let this one start? (A cancelled one is finished only.)"""
        return self.condition in (Condition.FINISHED.value, state)


def broken(wanted: Mapping[str, Collection[str]], known: Collection[str]) -> dict[str, str]:
    """Which new tasks may not be stored, by id, and why. `wanted` is what each of them waits for; `known`
    are tasks that are stored, and whoever is stored waits for nobody that comes later: so no circle is closed
    but among the new ones."""
    good, left = set(known), {task_id: set(others) for task_id, others in wanted.items()}
    waiting: dict[str, list[str]] = {}
    for task_id, others in left.items():
        for other in others:
            waiting.setdefault(other, []).append(task_id)
    ready = [other for other in waiting if other in good]
    ready += [task_id for task_id, others in left.items() if not others]
    while ready:
        done = ready.pop()
        good.add(done)
        for task_id in waiting.pop(done, ()):
            left[task_id].discard(done)
            if not left[task_id]:
                ready.append(task_id)
    return {task_id: _why(task_id, others, left) for task_id, others in left.items() if others}


def _why(task_id: str, others: Collection[str], new: Mapping[str, Collection[str]]) -> str:
    unknown = sorted(other for other in others if other not in new)
    if unknown:
        return f"depends_on: there is no task {unknown[0]}"
    return f"depends_on: {task_id} waits in a circle, or for a task that is refused"
