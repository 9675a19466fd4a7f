"""Real servers for the tests of khala.services, each in its own folder and on free ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from services.processes import free_ports, is_alive
from wait import wait_until

from khala.services.definition import ServerDefinition
from khala.services.etcd import EtcdServer
from khala.services.executables import Executable, find_etcd, find_mongod
from khala.services.mongod import MongodServer
from khala.services.native_process import NativeService, Patience

QUICK = Patience(probe_s=4.0, stop_grace_s=1.5, predecessor_s=15.0, restart_s=0.05, steady_s=60.0)


@pytest.fixture(scope="session")
def wheel_etcd() -> Executable:
    return find_etcd(path="/nonexistent")


@pytest.fixture(params=["path", "wheel"])
def etcd_executable(request: pytest.FixtureRequest, wheel_etcd: Executable) -> Executable:
    if request.param == "wheel":
        return wheel_etcd
    found = find_etcd()
    if found.origin != "path":
        pytest.skip("no etcd on PATH")
    return found


@pytest.fixture(scope="session")
def mongod_executable() -> Executable:
    return find_mongod()


@pytest.fixture
def etcd(etcd_executable: Executable, tmp_path: Path) -> EtcdServer:
    return an_etcd(etcd_executable, tmp_path)


def an_etcd(executable: Executable, tmp_path: Path) -> EtcdServer:
    peer, client = free_ports(2)
    return EtcdServer(
        executable=executable,
        directory=tmp_path / "etcd",
        name="e1",
        listen_address="127.0.0.1",
        listen_peer_port=peer,
        listen_client_port=client,
    )


@pytest.fixture
def mongod(mongod_executable: Executable, tmp_path: Path) -> MongodServer:
    return MongodServer(
        executable=mongod_executable,
        directory=tmp_path / "mongod",
        listen_address="127.0.0.1",
        port=free_ports(1)[0],
        secret=b"a secret of a cluster",
    )


@pytest.fixture(params=["etcd", "mongod"])
def definition(request: pytest.FixtureRequest, tmp_path: Path) -> ServerDefinition:
    """Each kind of server in turn, by the etcd that is preferred here."""
    if request.param == "etcd":
        return an_etcd(find_etcd(), tmp_path)
    server: MongodServer = request.getfixturevalue("mongod")
    return server


@pytest.fixture
def run() -> Iterator[Callable[..., NativeService]]:
    """Makes services; at the end stops them, and fails the test when a process is left."""
    made: list[NativeService] = []

    def make(server: ServerDefinition, **options: object) -> NativeService:
        service = NativeService(server, patience=QUICK, **options)  # type: ignore[arg-type]
        made.append(service)
        return service

    yield make
    pids = [pid for service in made for pid in (service.pid, service.guard_pid) if pid]
    for service in made:
        service.stop()
    wait_until(lambda: not [pid for pid in pids if is_alive(pid)], what=f"end of {pids}")
