"""Which slots of an executor are idle, seen from outside."""

from __future__ import annotations

from pathlib import Path

from khala.execution.launching.ended import NEXT, SUFFIX


def idle_slots(root: Path) -> set[int]:
    """Those that have all ready for their next attempt, of the executor with this workspace root. A launcher
    tells of an end a moment before it is idle; what it holds open says nothing until then."""
    ready = [path.name.removeprefix(NEXT) for path in Path(f"{root}{SUFFIX}").iterdir() if is_next(path)]
    return {int(name.partition("-")[0]) for name in ready}


def is_next(path: Path) -> bool:
    """Is it the workspace that a slot has ready for its next attempt?"""
    return path.parent.name.endswith(SUFFIX) and path.name.startswith(NEXT)
