"""Keeps MongoDB able to read one moment for as long as it takes.

A mongod forgets how its data were after minSnapshotHistoryWindowInSeconds, 300 by default. Whoever reads
longer calls `hold` now and then from its own thread; each member is then told to keep what is needed from
the first call on, and a little more: a reader that was killed leaves no more than that behind, until its
server starts again or somebody else lets go.
"""

from __future__ import annotations

import time
from types import TracebackType

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from khala.store.mongo.client import Document, MongoSettings, login

DEFAULT_S = 300
RENEW_S = 60.0
_PARAMETER = "minSnapshotHistoryWindowInSeconds"


class HistoryWindow:
    """Of all members of the set that `client` is of. Use it with `with`, just before the first read.

    `reserve_s` is how long the reader may take between two calls of `hold`.
    """

    def __init__(
        self,
        client: MongoClient[Document],
        settings: MongoSettings,
        *,
        reserve_s: int = DEFAULT_S,
        renew_s: float = RENEW_S,
    ) -> None:
        self._client = client
        self._settings = settings
        self._reserve_s = reserve_s
        self._renew_s = renew_s
        self._began = time.monotonic()
        self._held = self._began
        self._widened = False

    def __enter__(self) -> HistoryWindow:
        self._began = self._held = time.monotonic()
        return self

    def hold(self) -> None:
        """Keep the moment for another while. Never raises: a member that is away cannot be read either,
        and one that forgot says so when it is read."""
        now = time.monotonic()
        if now - self._held >= self._renew_s:
            self._held = now
            self._widened = True
            self._tell(int(now - self._began) + 1 + self._reserve_s)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._widened:
            self._tell(DEFAULT_S)

    def _tell(self, seconds: int) -> None:
        for host, port in self._client.nodes:
            try:
                with MongoClient(
                    host,
                    port,
                    directConnection=True,
                    serverSelectionTimeoutMS=2_000,
                    timeoutMS=4_000,
                    appname="khala-backup",
                    **login(self._settings),
                ) as member:
                    member.admin.command({"setParameter": 1, _PARAMETER: seconds})
            except PyMongoError:
                continue
