"""The processes of a local cluster, found by what they are, and what can be done to them.

Signals go to processes that were found by this cluster's own directory, by psutil's identity (pid and
start time), never to a bare pid.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import httpx
import psutil
from cluster.conftest import LocalCluster
from faults.trial import Trial
from freezing import freeze
from wait import wait_until

from khala.local.identity import identity_of
from khala.local.record import ProcessRecord

NATIVE = ("etcd", "mongod")
READY_WITHIN_S = 300


def entry_of(cluster: LocalCluster, name: str) -> ProcessRecord:
    """What the supervisor wrote down of a role process, such as `executor-2`."""
    return next(entry for entry in cluster.record().processes if entry.name == name)


def roles(cluster: LocalCluster, role: str) -> list[str]:
    """The names of all processes of a role."""
    return [entry.name for entry in cluster.record().processes if entry.role == role]


def role(cluster: LocalCluster, name: str) -> psutil.Process:
    """A running role process; waits while it is being started again."""

    def found() -> psutil.Process | None:
        identity = entry_of(cluster, name).identity
        alive = identity is not None and identity.alive()
        return psutil.Process(identity.pid) if identity is not None and alive else None

    process = wait_until(found, timeout_s=300, what=f"a running {name}")
    assert process is not None
    return process


def leader(trial: Trial) -> str:
    """Which judicator leads, by its own word."""

    def named() -> str:
        return str(trial.ask("cluster")["leader"] or "")

    return wait_until(named, timeout_s=300, what="a leader")


def primary(trial: Trial) -> str:
    """Which judicator's mongod is the primary."""

    def named() -> str:
        shown = trial.ask("judicators")["judicators"]
        return next((str(one["name"]) for one in shown if one["replica_state"] == "primary"), "")

    return wait_until(named, timeout_s=300, what="a primary")


def etcd_leader(cluster: LocalCluster) -> str:
    """Which judicator's etcd leads, by the metrics that every etcd shows to everybody; one that is just being
    started again shows none."""

    def named() -> str:
        return next((name for name in roles(cluster, "judicator") if leads(name)), "")

    def leads(name: str) -> bool:
        url = f"http://127.0.0.1:{cluster.record().ports[f'{name}.etcd_client']}/metrics"
        try:
            return b"\netcd_server_is_leader 1" in httpx.get(url).content
        except httpx.TransportError:
            return False

    return wait_until(named, timeout_s=300, what="a leading etcd")


def native(cluster: LocalCluster, judicator: str, kind: str) -> psutil.Process:
    """The etcd or mongod of a judicator; waits while it is being started again."""
    place = str(cluster.directory / judicator)

    def found() -> psutil.Process | None:
        for process in psutil.process_iter():
            try:
                if process.name() == kind and any(place in word for word in process.cmdline()):
                    return process
            except psutil.Error:
                continue
        return None

    process = wait_until(found, timeout_s=300, what=f"a running {kind} of {judicator}")
    assert process is not None
    return process


def kill(*processes: psutil.Process) -> None:
    """SIGKILL to all of them, as close together as can be."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it has noticed the end of the one before
            process.send_signal(signal.SIGKILL)


@contextmanager
def frozen(*processes: psutil.Process) -> Iterator[None]:
    """They stand still while the block runs."""
    try:
        for process in processes:
            with suppress(ProcessLookupError):  # another fault has just ended it
                freeze(process.pid)
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


@contextmanager
def gone(cluster: LocalCluster, judicators: Sequence[str], kind: str) -> Iterator[None]:
    """Their etcd or mongod is dead while the block runs: who would start it again stands still."""
    servers = [native(cluster, name, kind) for name in judicators]
    with frozen(*(role(cluster, name) for name in judicators)):
        kill(*servers)
        yield


def replaced(cluster: LocalCluster, name: str, before: psutil.Process) -> None:
    """Wait until another process runs under this role's name."""

    def again() -> bool:
        identity = entry_of(cluster, name).identity
        return (
            identity is not None
            and identity.alive()
            and identity != identity_of(before.pid)
            and (identity.pid != before.pid)
        )

    wait_until(again, timeout_s=300, what=f"{name} to be started again")


def kill_everything(cluster: LocalCluster) -> None:
    """A power cut: the supervisor first, that it may restart nothing, then every process of the cluster."""
    supervisor = cluster.record().supervisor
    assert supervisor is not None
    processes = cluster.processes()
    groups = [child for process in processes for child in _children(process)]
    supervisor.send(signal.SIGKILL)
    kill(*processes, *groups)
    nothing_left(cluster)


def nothing_left(cluster: LocalCluster) -> None:
    """Wait until no process of the cluster runs."""
    wait_until(lambda: not cluster.processes(), what="the end of every process")


def up_again(cluster: LocalCluster, *words: str) -> None:
    """`khala up` on the same data: the gateways keep their ports."""
    ended = cluster.khala("up", "--detach", "--json", *words)
    assert ended.returncode == 0, f"{ended.stderr}\n{cluster.logs()}"


def all_ready(cluster: LocalCluster) -> None:
    """Wait until every role process of the cluster runs."""

    def ready() -> bool:
        dead = [e.name for e in cluster.record().processes if e.identity is None or not e.identity.alive()]
        assert not dead, dead
        return True

    wait_until(ready, timeout_s=READY_WITHIN_S, what="every process to run again")


def _children(process: psutil.Process) -> Sequence[psutil.Process]:
    """All below it: launchers and tasks do not name the cluster's directory."""
    try:
        return [child for child in process.children(recursive=True) if child.pid != os.getpid()]
    except psutil.Error:
        return []
