"""Role processes as an operator starts them one by one, and the first few of a cluster."""

from __future__ import annotations

import hashlib
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.conftest import KHALA, ROOT, environment
from cluster.guard import guarded, working_in
from services.processes import free_ports
from wait import wait_until

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
            "--stop-within=120",
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

    def stop(self, name: str, *, within_s: float = 300) -> int:
        """SIGTERM, and its exit code."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(within_s)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait(120)
        wait_until(lambda: not working_in(str(self.folder)), what="the end of every process")


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@contextmanager
def started(folder: Path) -> Iterator[Roles]:
    """None yet; all that are started are ended after the block, and their logs shown if it fails."""
    made = Roles(folder)
    with guarded(folder):
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
        roles.start("executor", name, join, "--main-task-vacant=1", "--retry-times=300", "--retry-interval=1")
    roles.start(
        "gateway", "g1", join, f"--uwsgi-port={roles.http}", "--uwsgi-processes=1", "--retry-times=300",
        "--retry-interval=1",
    )  # fmt: skip
    client = Client(roles.gateway_url, TOKEN, patience_s=120)
    wait_until(lambda: len(client.executors()) == 2, timeout_s=300, what="two executors")
    return client


def standing(client: Client) -> dict[str, str]:
    """Each registered judicator and the state of its mongod."""
    return {str(one["name"]): str(one["replica_state"]) for one in client.judicators()}
