"""The epoch document: who leads, and the guard that every leader batch passes (P1, P4).

Called by the Scheduler's and the StoreWriter's threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pymongo
from pymongo import ReturnDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from khala.core.task import Epoch
from khala.errors import ConfigurationError
from khala.store.guards import stale
from khala.store.mongo.client import Connection, Document
from khala.store.mongo.failures import is_passing, meaning
from khala.store.mongo.schema import LEADER_ID, META

FIRST_TRY_S, PAUSE_S = 1.5, 0.05


class EpochDocument:
    """`{_id: "leader", generation, number, holder, session}`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._meta = connection.collection(META)

    def take(self, holder: str, session_id_of: Callable[[], Any]) -> Epoch:
        """Make `holder`, whose batches run on the session `session_id_of()`, the holder of the next epoch.

        An older leader that was paused or killed within a transaction keeps the document locked until
        the server gives the transaction up, 60 s by default; so its session is ended first. An answer
        that got lost only skips an epoch.
        """
        deadline = time.monotonic() + self._connection.settings.timeout_s
        try_s = FIRST_TRY_S
        while True:
            try:
                with pymongo.timeout(try_s), self._connection.session():
                    session_id = session_id_of()
                    self._end_abandoned_transaction(session_id)
                    return self._next(holder, session_id)
            except PyMongoError as error:
                left_s = deadline - time.monotonic() - PAUSE_S
                if not is_passing(error) or left_s < FIRST_TRY_S:
                    raise meaning(error, "take an epoch", writes=True) from error
            time.sleep(PAUSE_S)
            try_s = min(try_s * 2, left_s)

    def guard(self, epoch: Epoch, session: ClientSession) -> None:
        """Lock the document for this transaction if `epoch` still stands; StaleEpoch otherwise."""
        current = {"_id": LEADER_ID, "generation": epoch.generation, "number": epoch.number}
        if self._meta.update_one(current, {"$inc": {"batches": 1}}, session=session).matched_count == 0:
            raise stale(epoch)

    def _end_abandoned_transaction(self, own_session_id: Any) -> None:
        leader = self._meta.find_one({"_id": LEADER_ID}, {"session": 1})
        if leader and leader.get("session") not in (None, own_session_id):
            self._connection.client.admin.command("killSessions", [{"id": leader["session"]}])

    def _next(self, holder: str, session_id: Any) -> Epoch:
        after: Document | None = self._meta.find_one_and_update(
            {"_id": LEADER_ID},
            {"$inc": {"number": 1}, "$set": {"holder": holder, "session": session_id}},
            return_document=ReturnDocument.AFTER,
        )
        if after is None:
            raise ConfigurationError("the database was never prepared: start a judicator on it first")
        return Epoch(after["generation"], after["number"])


def generation_of(meta: Collection[Document]) -> int:
    """The generation that the store has."""
    leader = meta.find_one({"_id": LEADER_ID}, {"generation": 1})
    if leader is None:
        raise ConfigurationError("the database was never prepared: start a judicator on it first")
    return int(leader["generation"])


def begin_generation(meta: Collection[Document], now_s: int) -> int:
    """A new generation, for a store that may lack what its executors remember (P4): it outranks every epoch
    of the earlier ones. `now_s` is Unix time, with which new clusters begin, too."""
    after = meta.find_one_and_update(
        {"_id": LEADER_ID},
        [
            {
                "$set": {
                    "generation": {"$max": [{"$add": ["$generation", 1]}, now_s]},
                    "number": 0,
                    "holder": "",
                }
            },
            {"$unset": "session"},
        ],
        return_document=ReturnDocument.AFTER,
    )
    if after is None:
        raise ConfigurationError("the database was never prepared: there is nothing to go on with")
    return int(after["generation"])
