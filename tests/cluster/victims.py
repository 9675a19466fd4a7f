"""Whom to kill in a local cluster."""

from __future__ import annotations

import psutil
from cluster.conftest import LocalCluster


def victim(cluster: LocalCluster, kind: str) -> psutil.Process:
    """A role process by its name, a native server by its program."""
    entry = next((e for e in cluster.record().processes if e.name == f"{kind}-1"), None)
    if entry is not None and entry.identity is not None:
        return psutil.Process(entry.identity.pid)
    return next(process for process in cluster.processes() if name_of(process) == kind)


def name_of(process: psutil.Process) -> str:
    """The name of a process; empty if it has ended meanwhile, as what is started for a moment may have."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""
