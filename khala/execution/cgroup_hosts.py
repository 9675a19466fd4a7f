"""Where on this host an executor may make control groups of its own. Reads; changes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CONTROLLERS = ("pids", "memory", "cpu", "cpuacct", "freezer")
MAIN = "khala-main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """`version` 1 or 2; `parents` maps a controller (2: the empty name) to the groups to try, best first."""

    version: int
    parents: Mapping[str, tuple[Path, ...]]


@dataclass(frozen=True, slots=True)
class _Mount:
    root: str
    point: Path
    kind: str
    options: tuple[str, ...]


def find_places(mountinfo: str, own_groups: str, *, root: bool) -> Places | None:
    """Read the texts of /proc/self/mountinfo and /proc/self/cgroup (cgroups(7)); None: no cgroups.

    The executor's own group comes first, for what binds the executor should bind its tasks; but a
    superuser on a version 2 host takes the true root, where its own group is somebody else's (a
    session's, a service's without Delegate) and holds processes.
    """
    mounts = _cgroup_mounts(mountinfo)
    own = dict(_own_groups(own_groups))
    found = {}
    for name in CONTROLLERS:
        mount = next((m for m in mounts if m.kind == "cgroup" and name in m.options), None)
        if mount is not None:
            found[name] = (_inside(mount, own.get(name, "/")), mount.point)
    if "pids" in found:
        return Places(version=1, parents=found)
    mount = next((m for m in mounts if m.kind == "cgroup2"), None)
    if mount is None:
        return None
    inside = _inside(mount, own.get("", "/"))
    if inside.name == MAIN:
        inside = inside.parent
    is_true_root = not (mount.point / "cgroup.type").exists()
    parents = (mount.point, inside) if root and is_true_root else (inside,)
    return Places(version=2, parents={"": parents})


def _cgroup_mounts(mountinfo: str) -> list[_Mount]:
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if kinds and kinds[0] in ("cgroup", "cgroup2"):
            found.append(_Mount(fields[3], Path(fields[4]), kinds[0], tuple(kinds[2].split(","))))
    return found


def _own_groups(own_groups: str) -> list[tuple[str, str]]:
    found = []
    for line in own_groups.splitlines():
        _, names, path = line.split(":", 2)
        found += [(name, path) for name in names.split(",")]
    return found


def _inside(mount: _Mount, path: str) -> Path:
    """A group's directory; the mount point itself if the group lies outside of what is mounted."""
    relative = os.path.relpath(path, mount.root)
    inside = mount.point if relative.startswith("..") else mount.point / relative
    return inside if inside.is_dir() else mount.point
