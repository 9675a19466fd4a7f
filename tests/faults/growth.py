"""What a cluster holds when all is at rest: memory, threads and descriptors of its processes, leases at etcd.

Two windows of readings are compared, the smallest that a process had in the second with the largest that any
of its kind had in the first: a process that was started in between begins small and grows to what it needs,
the judicator that leads holds more than the others and is not always the same, and one that leaks never comes
back down.
"""

from __future__ import annotations

import time
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
    """What one process has, `age_s` seconds after its start."""

    age_s: float
    memory_bytes: int
    threads: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What all of Khala's own processes have, by their names, and how many leases there are."""

    processes: Mapping[str, Held]
    leases: int

    def __str__(self) -> str:
        shown = (f"{name} {held.memory_bytes / 1e6:.1f} MB, {held.threads} threads, "
                 f"{held.descriptors} descriptors ({held.age_s:.0f} s old)"
                 for name, held in self.processes.items())  # fmt: skip
        return f"{', '.join(shown)}; {self.leases} leases"


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
    names = list(before[0].processes)
    for name in names:
        kind = [other for other in names if _kind(other) == _kind(name)]
        for what, most in MOST.items():
            old = max((held for other in kind for held in _each(before, other, what)), default=0)
            new = min(_each(after, name, what), default=0)
            if new - old > most:
                wrong.append(f"{name}: {old} → {new} {what}")
    old_leases, new_leases = max(one.leases for one in before), min(one.leases for one in after)
    if new_leases > old_leases:
        wrong.append(f"{old_leases} → {new_leases} leases")
    return wrong


def _kind(name: str) -> str:
    """What a process is: the name of the first one is `judicator-1`."""
    return name.partition("-")[0]


def _each(window: Sequence[Reading], name: str, what: str) -> Iterator[int]:
    return (attrgetter(what)(reading.processes[name]) for reading in window if name in reading.processes)


def _held(process: psutil.Process) -> Held:
    with process.oneshot():
        age_s = time.time() - process.create_time()
        return Held(age_s, process.memory_info().rss, process.num_threads(), process.num_fds())
