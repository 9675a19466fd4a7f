"""A control plane that grows and shrinks under load, made of single roles as an operator starts them."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cluster.conftest import KHALA, ROOT, environment
from cluster.load import Load, assert_all_ended_once
from services.processes import free_ports
from wait import wait_until

from khala.cli.exits import Exit
from khala.client import Client

SECRET = "the secret of a test"
TOKEN = "khala_token_of_a_test"


class Roles:
    """Role processes in one folder; judicators are called j1, j2, …"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret"
        self.secret.write_text(SECRET)
        self.secret.chmod(0o600)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, list[int]] = {}
        (self.http,) = free_ports(1)
        self.gateway_url = f"http://127.0.0.1:{self.http}"

    def etcd_client(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports(name)[1]}"

    def ports(self, name: str) -> list[int]:
        if name not in self._ports:
            self._ports[name] = free_ports(4)
        return self._ports[name]

    def judicator(self, name: str, *flags: str) -> None:
        """Start one; its default advertise addresses are localhost's."""
        peer, client, mongod, main = self.ports(name)
        self.start(
            "judicator",
            name,
            "--etcd-listen-address=127.0.0.1",
            f"--etcd-listen-peer-port={peer}",
            f"--etcd-listen-client-port={client}",
            "--mongodb-listen-address=127.0.0.1",
            f"--mongodb-listen-port={mongod}",
            "--main-listen-address=127.0.0.1",
            f"--main-listen-port={main}",
            f"--main-first-token-digest={digest(TOKEN)}",
            *flags,
        )

    def start(self, role: str, name: str, *flags: str, secret: Path | None = None) -> None:
        words = [role, f"--main-name={name}", f"--data-dir={self.folder / name}", *flags]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*KHALA, *words, f"--secret-file={secret or self.secret}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment(),
                start_new_session=True,
            )

    def stop(self, name: str, *, within_s: float = 45) -> int:
        """SIGTERM, and its exit code."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(within_s)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait(20)
        wait_until(lambda: not self._left(), timeout_s=20, what="the end of every process")

    def _left(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            if process.pid != os.getpid() and any(str(self.folder) in word for word in words):
                found.append(process)
        return found


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
def roles(tmp_path: Path) -> Iterator[Roles]:
    made = Roles(tmp_path)
    try:
        yield made
    except BaseException:
        for name in made.processes:
            print(f"== {name}\n{made.log(name)[-3000:]}")
        raise
    finally:
        made.close()


def begun(roles: Roles) -> Client:
    """One judicator, two executors, a gateway; a client of it."""
    roles.judicator("j1", "--etcd-cluster-init-independent")
    join = f"--etcd-cluster-join-member-client={roles.etcd_client('j1')}"
    for name in ("x1", "x2"):
        roles.start("executor", name, join, "--main-task-vacant=1", "--retry-times=20", "--retry-interval=1")
    roles.start(
        "gateway", "g1", join, f"--uwsgi-port={roles.http}", "--uwsgi-processes=1", "--retry-times=20",
        "--retry-interval=1",
    )  # fmt: skip
    client = Client(roles.gateway_url, TOKEN, patience_s=60)
    wait_until(lambda: len(client.executors()) == 2, timeout_s=60, what="two executors")
    return client


def standing(client: Client) -> dict[str, str]:
    """Each registered judicator and the state of its mongod."""
    return {str(one["name"]): str(one["replica_state"]) for one in client.judicators()}


@pytest.mark.timeout(240)
def test_one_grows_to_three_and_shrinks_to_one_under_load(roles: Roles) -> None:
    with begun(roles) as client, Load(roles.gateway_url, TOKEN, "scaled-") as load:
        port = roles.ports("j1")[1]
        roles.judicator("j2", "--etcd-cluster-service=localhost", f"--etcd-cluster-service-port={port}")
        roles.judicator("j3", f"--etcd-cluster-join-member-client={roles.etcd_client('j1')}")
        wait_until(lambda: client.cluster()["survives"] == 1, timeout_s=90, what="three with all the data")
        assert set(standing(client)) == {"j1", "j2", "j3"}
        load.goes_on(timeout_s=10)
        assert_nobody_joins_with_another_secret(roles)

        # The first one leaves too: leader, primary and the address that everybody was given.
        assert roles.stop("j1") == 0
        assert "left the cluster" in roles.log("j1")
        wait_until(lambda: set(standing(client)) == {"j2", "j3"}, timeout_s=30, what="two")
        load.goes_on(timeout_s=15)
        assert roles.stop("j2") == 0
        wait_until(lambda: standing(client) == {"j3": "primary"}, timeout_s=30, what="one")
        load.goes_on(timeout_s=15)
    with Client(roles.gateway_url, TOKEN, patience_s=60) as client:
        assert_all_ended_once(client, load.ids, "scaled-")


def assert_nobody_joins_with_another_secret(roles: Roles) -> None:
    other = roles.folder / "other"
    other.write_text("another secret")
    other.chmod(0o600)
    join = f"--etcd-cluster-join-member-client={roles.etcd_client('j1')}"
    roles.start("judicator", "stranger", join, secret=other)
    assert roles.processes.pop("stranger").wait(30) == Exit.USAGE
    assert "the cluster secret does not fit" in roles.log("stranger")


@pytest.mark.timeout(240)
def test_one_that_left_comes_back_afresh_and_one_that_was_killed_with_its_data(roles: Roles) -> None:
    with begun(roles) as client:
        join = f"--etcd-cluster-join-member-client={roles.etcd_client('j1')}"
        for name in ("j2", "j3"):
            roles.judicator(name, join)
        wait_until(lambda: client.cluster()["survives"] == 1, timeout_s=90, what="three with all the data")
        roles.processes.pop("j2").kill()
        assert client.run({"execute": {"command": "echo still"}}, timeout_s=30).state == "succeeded"
        roles.judicator("j2", join)
        wait_until(lambda: client.cluster()["survives"] == 1, timeout_s=60, what="the killed one's return")
        assert not list((roles.folder / "j2").glob("*.aside-*"))

        assert roles.stop("j3") == 0
        wait_until(lambda: set(standing(client)) == {"j1", "j2"}, timeout_s=30, what="two")
        roles.judicator("j3", join)
        wait_until(lambda: client.cluster()["survives"] == 1, timeout_s=60, what="the third one afresh")
        aside = sorted(path.name.partition(".")[0] for path in (roles.folder / "j3").glob("*.aside-*"))
        assert aside == ["etcd", "mongodb"]
