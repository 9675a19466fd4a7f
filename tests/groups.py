"""The control groups of an executor, and what tasks have left in them."""

from __future__ import annotations

import os
from pathlib import Path

from khala.execution.launching.box import BOX_PROCESSES
from khala.execution.launching.cgroup_v1 import LEFT_BYTES
from khala.execution.pool import cgroup_name

CGROUPS = Path("/sys/fs/cgroup")
OTHERS = "khala-"
AS_GOOD_AS_NEW = {
    "cgroup.procs": 0,
    "pids.current": 0,
    "pids.peak": 1 + BOX_PROCESSES,
    "memory.usage_in_bytes": LEFT_BYTES,
    "memory.max_usage_in_bytes": LEFT_BYTES,
}
"""The most that each file may tell of a group in which nothing runs and nothing counts: the least that a
phase in a box has is not told apart from the least that one without has, so the group serves again."""


def groups_of(root: Path) -> list[Path]:
    """The control groups of the executor that has this workspace root; others come and go meanwhile."""
    name, found = cgroup_name(root), []
    for folder, inner, _ in os.walk(CGROUPS):
        if name in folder.split("/"):
            found.append(Path(folder))
        else:  # those of other executors are many
            inner[:] = [each for each in inner if each == name or not each.startswith(OTHERS)]
    return found


def used_groups(root: Path) -> list[Path]:
    """The groups of phases in which something counts; an idle slot has one ready that is as good as new."""
    return [group for group in groups_of(root) if group.name == "phase" and _was_used(group)]


def _was_used(group: Path) -> bool:
    try:
        told = {path.name: path.read_text() for path in group.iterdir() if path.name in AS_GOOD_AS_NEW}
    except OSError:
        return False
    return any(sum(map(int, text.split())) > AS_GOOD_AS_NEW[name] for name, text in told.items())
