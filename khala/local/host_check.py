"""What this host offers to a local cluster: programs, privileges, room. Changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from khala.errors import ConfigurationError
from khala.services.executables import Executable, find_etcd, find_mongod

_IN_A_CONTAINER = Path("/.dockerenv")
_DOCKER_OPTIONS = {
    "L1 user": "--user=root",
    "cgroups": "--cgroupns=host -v=/sys/fs/cgroup:/sys/fs/cgroup",
    "L3 box": "--security-opt=seccomp=docker/seccomp.json --security-opt=systempaths=unconfined",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked for. `state` is ok, missing (`khala up` needs it) or optional (works without)."""

    what: str
    state: str
    found: str


def check_host() -> tuple[Finding, ...]:
    """Look for everything; takes as long as asking the programs for their versions."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    root = os.geteuid() == 0
    user = "root: tasks run as users of their own" if root else "not root: tasks run as this user"
    return (
        Finding(what="python", state="ok", found=platform.python_version()),
        Finding(what="cpus, memory", state="ok", found=f"{len(os.sched_getaffinity(0))} CPUs, {gib:.1f} GiB"),
        _server("etcd", find_etcd),
        _server("mongod", find_mongod),
        Finding(what="user", state="ok" if root else "optional", found=user),
        _program("bwrap", "stronger isolation of tasks: apt-get install bubblewrap"),
        _program("g++", "`khala demo` compiles with it: apt-get install g++"),
    )


def check_container(*, lacking: Sequence[str], mark: Path = _IN_A_CONTAINER) -> tuple[Finding, ...]:
    """In a container: the options of `docker run` that give what is `lacking`, layers of isolation as
    `khala.execution.probing` calls them."""
    if not mark.exists():
        return ()
    options = [option for layer, option in _DOCKER_OPTIONS.items() if layer in lacking]
    if not options:
        return (Finding(what="container", state="ok", found="every layer of isolation holds"),)
    found = f"docker run {' '.join(options)} gives more; what it costs is in docs/docker.md"
    return (Finding(what="container", state="optional", found=found),)


def _server(what: str, find: Callable[[], Executable]) -> Finding:
    try:
        found = find()
    except ConfigurationError as lacking:
        return Finding(what=what, state="missing", found=str(lacking))
    version = ".".join(map(str, found.version))
    return Finding(what=what, state="ok", found=f"{version} at {found.path}")


def _program(name: str, use: str) -> Finding:
    path = shutil.which(name)
    return Finding(what=name, state="ok" if path else "optional", found=path or f"not found; {use}")
