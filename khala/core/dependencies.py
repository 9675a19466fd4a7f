"""Tasks that wait for others: what they may wait for, and whether that can still happen. Pure."""

from __future__ import annotations

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
