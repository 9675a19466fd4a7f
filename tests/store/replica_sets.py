"""A real replica set of several mongods, made by hand; secured as a cluster's is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pymongo
from store.mongod import QUICK, SECRET, Mongod
from wait import wait_until

from khala.store.mongo.client import Document, MongoSettings, login
from khala.store.mongo.replica_set import ELECTION_TIMEOUT_MS, HEARTBEAT_MS


class ReplicaSetOf:
    """`count` mongods in one set. The first is the first primary."""

    def __init__(self, folder: Path, count: int = 3) -> None:
        self.mongods = [Mongod(folder / f"m{number}", parameters=(QUICK,)) for number in range(count)]
        try:
            for mongod in self.mongods:
                mongod.start()
            self._initiate()
        except BaseException:
            self.discard()
            raise

    def settings(self) -> MongoSettings:
        """For a store on the whole set."""
        hosts = tuple(mongod.address for mongod in self.mongods)
        return MongoSettings(hosts=hosts, secret=SECRET)

    def primary(self) -> Mongod:
        """The mongod that is the primary now."""

        def found() -> list[Mongod]:
            running = [mongod for mongod in self.mongods if mongod.process is not None]
            return [mongod for mongod in running if hello(mongod)["isWritablePrimary"]]

        return wait_until(found, what="a primary")[0]

    def discard(self) -> None:
        """End them all, and remove their data."""
        for mongod in self.mongods:
            mongod.discard()

    def _initiate(self) -> None:
        first = self.mongods[0]
        members = [{"_id": n, "host": each.address} for n, each in enumerate(self.mongods)]
        members[0]["priority"] = 2
        times = {"electionTimeoutMillis": ELECTION_TIMEOUT_MS, "heartbeatIntervalMillis": HEARTBEAT_MS}
        _answer(first, {"replSetInitiate": {"_id": "rs", "members": members, "settings": times}}, {})
        wait_until(lambda: hello(first)["isWritablePrimary"], what="the first primary")
        first.initiate()  # its user
        wait_until(
            lambda: all(hello(each)["secondary"] for each in self.mongods[1:]),
            what="the secondaries",
        )


def ask(mongod: Mongod, command: str | Document) -> Any:
    """One command to this member, whatever its state is."""
    return _answer(mongod, command, login(mongod.settings()))


def hello(mongod: Mongod) -> Any:
    """What it says of itself, to anybody."""
    return _answer(mongod, "hello", {})


def _answer(mongod: Mongod, command: str | Document, credentials: Document) -> Any:
    with pymongo.MongoClient[Any](
        mongod.address, directConnection=True, timeoutMS=60_000, **credentials
    ) as client:
        return client.admin.command(command)
