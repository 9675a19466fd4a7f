"""A real mongod for tests: its own folder, a free port, a keyFile, ended with the test session."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymongo
from freezing import freeze
from pymongo.errors import PyMongoError
from services.processes import free_ports
from wait import wait_until

from khala.store.mongo.client import MongoSettings, login
from khala.store.mongo.replica_set import initiate_replica_set

SECRET = "a secret of the tests"
QUICK = "shutdownTimeoutMillisForSignaledShutdown=100"
"""A parameter: a member of a replica set waits 15 s at its end by default."""


def mongod_path() -> Path:
    return Path(sysconfig.get_paths()["purelib"]) / "fiftyone" / "db" / "bin" / "mongod"


class Mongod:
    """One mongod process of the replica set `replica_set`, secured by a keyFile unless `secret` is empty."""

    def __init__(
        self, folder: Path, *, replica_set: str = "rs", secret: str = SECRET, parameters: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self.parameters = parameters
        self.replica_set = replica_set
        self.secret = secret
        (self.port,) = free_ports(1)
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "db").mkdir(parents=True, exist_ok=True)
        key = folder / "key"
        key.write_bytes(base64.b64encode(hashlib.sha256(secret.encode()).digest()))
        key.chmod(0o600)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def settings(self, database: str = "khala") -> MongoSettings:
        return MongoSettings(
            hosts=(self.address,), replica_set=self.replica_set, secret=self.secret, database=database
        )

    def start(self) -> None:
        command = [str(mongod_path()), "--dbpath", "db", "--port", str(self.port), "--bind_ip", "127.0.0.1"]
        command += ["--replSet", self.replica_set, "--wiredTigerCacheSizeGB", "0.25", "--nounixsocket"]
        command += ["--logpath", "log", "--logappend"] + (["--keyFile", "key"] if self.secret else [])
        command += [f"--setParameter={each}" for each in self.parameters]
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL)
        wait_until(self.answers, what=f"mongod in {self.folder} to answer")

    def answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, (self.folder / "log").read_text()[
            -2000:
        ]
        try:
            with pymongo.MongoClient(self.address, directConnection=True, timeoutMS=2_000) as client:
                return bool(client.admin.command("hello")["ok"])
        except PyMongoError:
            return False

    def initiate(self) -> None:
        initiate_replica_set(self.settings(), self.address)

    def send(self, number: int) -> None:
        assert self.process is not None
        if number == signal.SIGSTOP:
            freeze(self.process.pid)
        else:
            os.kill(self.process.pid, number)

    @contextmanager
    def held(self, point: str) -> Iterator[None]:
        """Let it stand still where it reaches a fail point of its own; it was started with test commands."""
        account = login(self.settings())
        with pymongo.MongoClient(self.address, directConnection=True, **account) as client:
            client.admin.command("configureFailPoint", point, mode="alwaysOn")
            try:
                yield
            finally:
                client.admin.command("configureFailPoint", point, mode="off")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.send(number)
            if number != signal.SIGKILL:
                self.send(signal.SIGCONT)
            self.process.wait(120)
            self.process = None

    def discard(self) -> None:
        """Stop, and remove the data: 300 MB of journal that pytest would keep for three runs."""
        self.stop()
        shutil.rmtree(self.folder / "db")
