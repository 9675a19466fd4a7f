"""The control groups of an executor, and what tasks have left in them."""

from __future__ import annotations

import os
from pathlib import Path

from khala.execution.pool import cgroup_name

CGROUPS = Path("/sys/fs/cgroup")
FRESH = ("cgroup.procs", "pids.current", "pids.peak", "memory.usage_in_bytes", "memory.max_usage_in_bytes")


def groups_of(root: Path) -> list[Path]:
    """The control groups of the executor that has this workspace root; others come and go meanwhile."""
    name = cgroup_name(root)
    return [Path(folder) for folder, _, _ in os.walk(CGROUPS) if name in Path(folder).parts]


def used_groups(root: Path) -> list[Path]:
    """The groups of phases that anything was ever in; an idle slot has a fresh one ready."""
    return [group for group in groups_of(root) if group.name == "phase" and _was_used(group)]


def _was_used(group: Path) -> bool:
    try:
        counters = {path.name: path.read_text().split() for path in group.iterdir() if path.name in FRESH}
    except OSError:
        return False
    return any(text not in ([], ["0"]) for text in counters.values())
