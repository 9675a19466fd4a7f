"""What a cluster holds when all is at rest: memory, threads and descriptors of its processes, leases at etcd.

Two windows of readings are compared by the smallest of each: a process that was started in between
begins small, and one that leaks never comes back down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import httpx
import psutil
from cluster.conftest import LocalCluster
from faults.victims import role, roles

from khala.coordination.etcd_settings import ROOT, password_of

MEMORY_BYTES = 5 << 20
MOST = {"memory_bytes": MEMORY_BYTES - 1, "threads": 0, "descriptors": 0}
"""How much of each a process may grow."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one process has."""

    memory_bytes: int
    threads: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What all of Khala's own processes have, by their names, and how many leases there are."""

    processes: Mapping[str, Held]
    leases: int


def read(cluster: LocalCluster) -> Reading:
    """The cluster as it is now."""
    names = [name for kind in ("judicator", "executor", "gateway") for name in roles(cluster, kind)]
    return Reading({name: _held(role(cluster, name)) for name in names}, leases(cluster))


def leases(cluster: LocalCluster) -> int:
    """How many leases etcd has, by its HTTP gateway."""
    url = f"http://127.0.0.1:{cluster.record().ports['judicator-1.etcd_client']}/v3"
    secret = (cluster.directory / "secret").read_text().strip().encode()
    who = {"name": ROOT, "password": password_of(ROOT, secret)}
    token = httpx.post(f"{url}/auth/authenticate", json=who).raise_for_status().json()["token"]
    found = httpx.post(f"{url}/lease/leases", json={}, headers={"Authorization": token})
    return len(found.raise_for_status().json().get("leases", []))


def grown(before: Sequence[Reading], after: Sequence[Reading]) -> list[str]:
    """What grew from the first window to the second, in words."""
    wrong = []
    for name in before[0].processes:
        for what, most in MOST.items():
            old, new = (min(_each(window, name, what), default=0) for window in (before, after))
            if new - old > most:
                wrong.append(f"{name}: {old} → {new} {what}")
    old_leases, new_leases = (min(reading.leases for reading in window) for window in (before, after))
    if new_leases > old_leases:
        wrong.append(f"{old_leases} → {new_leases} leases")
    return wrong


def _each(window: Sequence[Reading], name: str, what: str) -> Iterator[int]:
    return (attrgetter(what)(reading.processes[name]) for reading in window if name in reading.processes)


def _held(process: psutil.Process) -> Held:
    with process.oneshot():
        return Held(process.memory_info().rss, process.num_threads(), process.num_fds())
