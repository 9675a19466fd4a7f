"""Start, watch, restart and stop, with real etcd and mongod."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import pytest
from freezing import freeze
from services.processes import is_alive
from wait import wait_until

from khala.errors import ConfigurationError, Unavailable
from khala.services.definition import ServerDefinition
from khala.services.etcd import EtcdServer
from khala.services.mongod import MongodServer
from khala.services.native_process import NativeService, Phase

Run = Callable[..., NativeService]


def ready_again(service: NativeService, *, restarts: int) -> None:
    def seen() -> bool:
        state = service.check()
        assert (state.phase, state.restarts) == (Phase.READY, restarts), state
        return True

    wait_until(seen, what="the restarted server")


def test_each_etcd_starts_and_stops(etcd: EtcdServer, run: Run) -> None:
    service = run(etcd)
    service.start()
    service.wait_ready(60)
    pid = service.pid
    assert pid and is_alive(pid)
    assert service.check().phase is Phase.READY
    service.stop()
    assert not is_alive(pid)
    assert service.check().phase is Phase.STOPPED
    assert not etcd.answers(0.5)


def test_stopped_server_starts_again_on_its_data(definition: ServerDefinition, run: Run) -> None:
    service = run(definition)
    for _ in range(2):
        service.start()
        service.wait_ready(60)
        service.stop()
    assert service.restarts == 0
    assert service.last_exit


def test_open_mongod_starts(mongod: MongodServer, run: Run) -> None:
    open_one = MongodServer(
        executable=mongod.executable,
        directory=mongod.directory,
        listen_address="127.0.0.1",
        port=mongod.port,
    )
    service = run(open_one)
    service.start()
    service.wait_ready(60)
    assert not open_one.files().key_file.exists()


def test_killed_server_is_restarted_and_counted(definition: ServerDefinition, run: Run) -> None:
    service = run(definition)
    service.start()
    service.wait_ready(60)
    for number in (1, 2):
        pid = service.pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        ready_again(service, restarts=number)
        assert service.pid != pid
        assert service.last_exit == "killed by signal 9 (SIGKILL)"


def test_killed_guard_takes_its_server_along(definition: ServerDefinition, run: Run) -> None:
    service = run(definition)
    service.start()
    service.wait_ready(60)
    pid, guard = service.pid, service.guard_pid
    assert pid and guard
    os.kill(guard, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), what="the server's end")
    ready_again(service, restarts=1)


def test_paused_server_is_unready_and_still_stops(definition: ServerDefinition, run: Run) -> None:
    service = run(definition)
    service.start()
    service.wait_ready(60)
    pid = service.pid
    assert pid
    freeze(pid)
    state = service.check()
    assert (state.phase, state.pid) == (Phase.UNREADY, pid)
    assert "does not answer" in state.detail
    service.stop()
    assert not is_alive(pid)
    assert service.last_exit == "killed by signal 9 (SIGKILL)"


def test_port_in_use_is_named_with_its_flag(definition: ServerDefinition, run: Run) -> None:
    place = definition.listening()[0]
    service = run(definition)
    with socket.create_server((place.address, place.port)):
        with pytest.raises(ConfigurationError, match=f"{place.flag}: port {place.port} .* in use"):
            service.start()
        assert service.pid is None
    service.start()
    service.wait_ready(60)


def test_port_taken_while_down_delays_the_restart(definition: ServerDefinition, run: Run) -> None:
    place = definition.listening()[0]
    service = run(definition)
    service.start()
    service.wait_ready(60)
    service.stop()
    service.start()
    pid = wait_until(lambda: service.pid, what="its guard's word")
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    with socket.create_server((place.address, place.port), reuse_port=False):
        wait_until(lambda: f"port {place.port}" in service.check().detail)
        assert service.check().phase is Phase.WAITING
    ready_again(service, restarts=1)


def test_folder_in_use_is_refused(mongod: MongodServer, run: Run) -> None:
    service, second = run(mongod), run(mongod)
    service.start()
    with pytest.raises(ConfigurationError, match="another mongod is running on this folder"):
        second.start()


def test_server_that_cannot_start_tells_its_log(mongod: MongodServer, run: Run) -> None:
    mongod.prepare()
    (mongod.files().data / "storage.bson").write_text("not a document")
    service = run(mongod)
    service.start()
    with pytest.raises(
        ConfigurationError,
        match=r"(?s)mongod did not start \(exit code 14\).*Unable to read the storage engine metadata",
    ):
        service.wait_ready(60)


def test_server_that_is_not_ready_in_time_tells_its_log(etcd: EtcdServer, run: Run) -> None:
    alone = EtcdServer(
        executable=etcd.executable,
        directory=etcd.directory,
        name="e1",
        listen_address="127.0.0.1",
        listen_peer_port=etcd.listen_peer_port,
        listen_client_port=etcd.listen_client_port,
        initial_cluster={"e2": "http://127.0.0.1:9"},
    )
    service = run(alone)
    service.start()
    with pytest.raises(Unavailable, match=r"etcd was not ready within 0\.5 s"):
        service.wait_ready(0.5)
    assert service.check().phase is Phase.STARTING


def test_log_lines_are_told_and_the_file_stays_small(mongod: MongodServer, run: Run) -> None:
    told: list[str] = []
    service = run(mongod, on_log_line=told.append, max_log_bytes=4096)
    service.start()
    service.wait_ready(60)
    wait_until(lambda: service.check() and any("Waiting for connections" in line for line in told))
    files = mongod.files()
    assert files.log.with_name("server.log.1").exists()
    assert files.log.stat().st_size <= 8192
    assert "a secret of a cluster" not in "".join(told)
