"""Whether a slot of an executor is idle, seen from outside."""

from __future__ import annotations

from pathlib import Path

from khala.execution.launching.ended import NEXT, SUFFIX


def is_idle(launcher: int) -> bool:
    """Has the launcher of this pid all ready for its next attempt? It tells of an end a moment before, and
    what it holds open says nothing until then."""
    held = (path.readlink() for path in Path(f"/proc/{launcher}/fd").iterdir() if path.is_symlink())
    return any(map(is_next, held))


def is_next(path: Path) -> bool:
    """Is it the workspace that a slot has ready for its next attempt?"""
    return path.parent.name.endswith(SUFFIX) and path.name.startswith(NEXT)
