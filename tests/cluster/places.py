"""One judicator's flags, folder and ports, and its two servers or the whole of it run by hand."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.conftest import KHALA, ROOT, environment, run_khala
from services.processes import free_ports

from khala.config import JudicatorConfig, resolve
from khala.node.native import etcd_server, mongod_address, mongod_server
from khala.services.definition import ServerDefinition
from khala.services.native_process import NativeService, Patience
from khala.store.mongo.client import MongoSettings

SECRET = "the secret of a cluster"


class Place:
    """Where one judicator lives: its flags, and its two servers when they are run by hand."""

    def __init__(self, folder: Path, number: int) -> None:
        self.name = f"j{number}"
        peer, client, mongod, main = free_ports(4)
        (folder / "secret").write_text(SECRET)
        (folder / "secret").chmod(0o600)
        self.given = {
            "main_name": self.name,
            "data_dir": str(folder / self.name),
            "secret_file": str(folder / "secret"),
            "etcd_listen_address": "127.0.0.1",
            "etcd_listen_peer_port": str(peer),
            "etcd_listen_client_port": str(client),
            "etcd_advertise_address": "127.0.0.1",
            "mongodb_listen_address": "127.0.0.1",
            "mongodb_listen_port": str(mongod),
            "mongodb_advertise_address": "127.0.0.1",
            "main_listen_address": "127.0.0.1",
            "main_listen_port": str(main),
            "main_advertise_address": "127.0.0.1",
            "etcd_cluster_init_independent": "true",
        }
        config = resolve("judicator", {name: (text,) for name, text in self.given.items()}, {}).config
        assert isinstance(config, JudicatorConfig)
        self.config = config
        self.services: list[NativeService] = []

    @property
    def flags(self) -> list[str]:
        return [f"--{name.replace('_', '-')}={text}" for name, text in self.given.items()]

    def start(self, peers: dict[str, str]) -> None:
        """Run its etcd, one of those at `peers`, and its mongod."""
        others = {name: url for name, url in peers.items() if name != self.name}
        self._serve(dataclasses.replace(etcd_server(self.config), initial_cluster=others))
        self.start_mongod()

    def start_mongod(self) -> None:
        """Run its mongod, whatever it is a member of, and wait until it answers."""
        self._serve(mongod_server(self.config))
        self.services[-1].wait_ready(60)

    def stop(self) -> None:
        for service in self.services:
            service.stop()
        self.services.clear()

    def _serve(self, server: ServerDefinition) -> None:
        service = NativeService(server, patience=Patience(stop_grace_s=5.0))
        self.services.append(service)
        service.start()

    def settings(self) -> MongoSettings:
        return MongoSettings(hosts=(mongod_address(self.config),), secret=SECRET)

    def recover(self, *more: str) -> subprocess.CompletedProcess[str]:
        return run_khala(["judicator", "--recover", *self.flags, *more], timeout_s=300)


@contextmanager
def running(place: Place, command: Sequence[str] = KHALA) -> Iterator[None]:
    """The judicator as a process, until the end of the block."""
    words = [*command, "judicator", *place.flags]
    process = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        code = process.wait(180)
    assert code == 0
