"""The one MongoClient of a process: its settings, its login, and its causally consistent sessions.

Create it after spawning, never before a fork. Its methods may be called from any thread. It must not
know what is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bson.timestamp import Timestamp
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from khala.store.mongo.failures import translated
from khala.store.timing import StoreTimes

Document = dict[str, Any]
USER = "khala"


@dataclass(frozen=True, slots=True, kw_only=True)
class MongoSettings:
    """Where the replica set is (`hosts` are host:port, any of its members) and the cluster's secret.

    An empty `secret` means a cluster that was started open: no login. `timeout_s` bounds each operation.
    """

    hosts: tuple[str, ...]
    replica_set: str = "rs"
    secret: str = ""
    database: str = "khala"
    timeout_s: float = 10.0


def mongo_password(secret: str) -> str:
    """The database user's password, derived from the cluster's secret."""
    return hmac.new(secret.encode(), b"khala/mongodb/password/1", hashlib.sha256).hexdigest()


def login(settings: MongoSettings) -> Document:
    """The client's arguments that log in; none for an open cluster."""
    if not settings.secret:
        return {}
    return {
        "username": USER,
        "password": mongo_password(settings.secret),
        "authSource": "admin",
        "authMechanism": "SCRAM-SHA-256",
    }


def open_client(settings: MongoSettings) -> MongoClient[Document]:
    """A client of the whole replica set with the settings that were measured (facts.md)."""
    return MongoClient(
        list(settings.hosts),
        replicaSet=settings.replica_set,
        w="majority",
        journal=True,
        readConcernLevel="majority",
        retryWrites=True,
        retryReads=True,
        connectTimeoutMS=2_000,
        heartbeatFrequencyMS=500,
        serverSelectionTimeoutMS=min(8_000, int(settings.timeout_s * 1000)),
        timeoutMS=int(settings.timeout_s * 1000),
        appname="khala",
        **login(settings),
    )


class Connection:
    """The client, and the sessions that keep one process's reads from going backwards (I15).

    A majority read alone may be older than one made before an election; so each session starts from
    the latest operation time that any session of this process has seen.
    """

    def __init__(self, settings: MongoSettings) -> None:
        self.settings = settings
        self.client = open_client(settings)
        self.times = StoreTimes()
        self._lock = threading.Lock()
        self._seen: Timestamp | None = None

    def collection(self, name: str) -> Collection[Document]:
        """A collection of Khala's database."""
        return self.client[self.settings.database][name]

    @contextmanager
    def reading(self, doing: str) -> Iterator[None]:
        """Run the block's operations in one session; what goes wrong is Unavailable."""
        with translated(doing, writes=False), self.times.measured("read"), self.session():
            yield

    @contextmanager
    def writing(self, doing: str) -> Iterator[None]:
        """Run the block's operations in one session; what goes wrong may be OutcomeUnknown."""
        with translated(doing, writes=True), self.times.measured("write"), self.session():
            yield

    def close(self) -> None:
        """Release the connections and end the client's threads."""
        self.client.close()

    def advance(self, seen: Timestamp | None) -> None:
        """Remember that this process has seen the store as of `seen`."""
        with self._lock:
            if seen is not None and (self._seen is None or seen > self._seen):
                self._seen = seen

    @contextmanager
    def session(self) -> Iterator[None]:
        """Run the block's operations in one session; pymongo's errors come through as they are."""
        with self.client.start_session(causal_consistency=True) as session:
            if self._seen is not None:
                session.advance_operation_time(self._seen)
            try:
                with session.bind(end_session=False):
                    yield
            finally:
                self.advance(session.operation_time)

    def snapshot(self) -> ClientSession:
        """A session whose reads all see one moment of what a majority has; close it (`with`)."""
        return self.client.start_session(snapshot=True)
