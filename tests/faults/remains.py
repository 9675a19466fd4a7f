"""What tasks may have left on this machine once all is at rest (I19)."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from history.records import Remained

from khala.execution.pool import cgroup_name

CGROUPS = Path("/sys/fs/cgroup")
TASK = b"KHALA_TASK_ID="


def remains(data_dirs: Mapping[str, Path], task_ids: Collection[str]) -> list[Remained]:
    """Processes of these tasks; control groups, mounts, workspaces of executors (name → data directory)."""
    now = time.time()
    found = list(_processes(task_ids))
    for name, data_dir in data_dirs.items():
        found += [f"spool {path}" for path in _listed(data_dir / "spool")]
        for root in workspace_roots(name, data_dir):
            found += [f"workspace {path}" for path in _listed(root)]
            found += [f"mount {line}" for line in _mounts(root)]
            found += [f"control group {path}" for path in _groups(root)]
    return [Remained(now, what) for what in found]


def workspace_roots(name: str, data_dir: Path) -> tuple[Path, ...]:
    """Where an executor's workspaces may lie: with its data, or where the slots' users can pass."""
    number = zlib.crc32(str(data_dir).encode())
    return data_dir / "work", Path("/var/tmp") / f"khala-{name}-{number:08x}"


def _processes(task_ids: Collection[str]) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        owners = [each.removeprefix(TASK).decode() for each in variables if each.startswith(TASK)]
        if any(owner in task_ids for owner in owners):
            yield f"process {entry.name} of task {owners[0]}: {words[:80].decode(errors='replace')}"


def _listed(root: Path) -> list[Path]:
    return list(root.iterdir()) if root.is_dir() else []


def _mounts(root: Path) -> list[str]:
    """Mounts below `root` that any process sees; a launcher has a mount namespace of its own."""
    seen: dict[str, list[str]] = {}
    for mounts in Path("/proc").glob("[0-9]*/mounts"):
        try:
            namespace = str((mounts.parent / "ns/mnt").readlink())
            if namespace not in seen:
                seen[namespace] = mounts.read_text().splitlines()
        except OSError:
            continue
    return [line for lines in seen.values() for line in lines if line.split()[1].startswith(f"{root}/")]


def _groups(root: Path) -> list[Path]:
    """Groups of running phases; those of the slots themselves stay for the next task. Others' groups come
    and go meanwhile."""
    name = cgroup_name(root)
    folders = (Path(folder) for folder, _, _ in os.walk(CGROUPS))
    return [folder for folder in folders if folder.name == "phase" and name in folder.parts]
