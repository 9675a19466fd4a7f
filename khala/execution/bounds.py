"""What bounds a task's phases on this executor: its own wishes, the owner's defaults and ceilings.

Pure functions. A wish above a ceiling, or for a level that does not hold here, is refused: nothing
is ever run under less than was asked for.
"""

from __future__ import annotations

import dataclasses

from khala.core.task import Limits, TaskSpec
from khala.execution.launching.framing import Header
from khala.execution.settings import ExecutionSettings

NAMES = tuple(item.name for item in dataclasses.fields(Limits))


class Unrunnable(Exception):
    """The task cannot be run here as it asks; says why."""


def require_level(spec: TaskSpec, settings: ExecutionSettings) -> None:
    """Unrunnable if the task demands more isolation than holds here: placement's last line of defence."""
    if spec.isolation not in settings.levels:
        raise Unrunnable(
            f"isolation {spec.isolation.value} does not hold on this executor "
            f"({', '.join(level.value for level in settings.levels)} do); `khala doctor` there says why"
        )


def phase_limits(phase: str, wished: Limits, settings: ExecutionSettings) -> Header:
    """Every limit of a phase as a number, 0 for none: the wish, else the default, else the ceiling.

    Unrunnable if a wish is above its ceiling.
    """
    return {
        name: _one(
            phase,
            name,
            getattr(wished, name) or 0,
            getattr(settings.default_limits, name) or 0,
            getattr(settings.ceilings, name) or 0,
        )
        for name in NAMES
    }


def _one(phase: str, name: str, wish: float, default: float, ceiling: float) -> float:
    if wish and ceiling and wish > ceiling:
        raise Unrunnable(f"{phase} asks for {name} {wish:.15g}; this executor allows at most {ceiling:.15g}")
    if wish:
        return wish
    return min(bound for bound in (default, ceiling) if bound) if default or ceiling else 0
