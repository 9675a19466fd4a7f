"""Transactions on one session: retried while they are known not to have happened, never guessed.

The caller's thread runs it, one transaction at a time. Operations inside must name the session
(`session=`): a bound session would send them with a write concern, which a transaction refuses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pymongo
from pymongo.client_session import ClientSession
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from khala.errors import OutcomeUnknown
from khala.store.mongo.client import Connection
from khala.store.mongo.failures import first_line, meaning, translated

T = TypeVar("T")
TRANSIENT, UNKNOWN_COMMIT = "TransientTransactionError", "UnknownTransactionCommitResult"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.002, 0.1


class Transactions:
    """Runs transactions on one server session, whose id others may use to end an abandoned one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._running = threading.Lock()
        self._opening = threading.Lock()
        self._session: ClientSession | None = None

    def session_id(self) -> Any:
        """The id of the server session that `run` uses, for killSessions. Waits for no transaction; may
        raise pymongo's errors."""
        return self._open().session_id["id"]

    def run(self, doing: str, body: Callable[[ClientSession], T]) -> T:
        """Run `body` in a transaction and commit it to a majority; at most `timeout_s` seconds.

        A transaction that lost a write conflict or its server is run again, as `body` has then written
        nothing. Raises Unavailable (nothing written), OutcomeUnknown, or what `body` raises (nothing
        written).
        """
        timeout_s = self._connection.settings.timeout_s
        measured = self._connection.times.measured("transaction")
        with self._running, pymongo.timeout(timeout_s), translated(doing, writes=False), measured:
            deadline = time.monotonic() + timeout_s
            pause_s = FIRST_PAUSE_S
            session = self._open()
            while True:
                try:
                    answer = self._body(session, body)
                    self._commit(session, doing, deadline)
                    self._connection.advance(session.operation_time)
                    return answer
                except PyMongoError as error:
                    if not error.has_error_label(TRANSIENT) or time.monotonic() + pause_s > deadline:
                        raise
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def close(self) -> None:
        """Give the session back."""
        with self._running:
            if self._session is not None:
                self._session.end_session()

    def _open(self) -> ClientSession:
        with self._opening:
            if self._session is None:
                session = self._connection.client.start_session(causal_consistency=False)
                # pymongo gives a session its id with its first command only.
                self._connection.client.admin.command("ping", session=session)
                self._session = session
            return self._session

    def _body(self, session: ClientSession, body: Callable[[ClientSession], T]) -> T:
        session.start_transaction(read_concern=ReadConcern("snapshot"))
        try:
            return body(session)
        except BaseException:
            session.abort_transaction()
            raise

    def _commit(self, session: ClientSession, doing: str, deadline: float) -> None:
        """Commit, again while nobody knows; a commit that is known not to have happened raises TRANSIENT."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return session.commit_transaction()
            except PyMongoError as error:
                if error.has_error_label(TRANSIENT):
                    raise
                if not error.has_error_label(UNKNOWN_COMMIT):
                    raise meaning(error, doing, writes=True) from error
                if time.monotonic() + pause_s > deadline:
                    raise OutcomeUnknown(
                        f"MongoDB did not say in time whether it could {doing}: {first_line(error)}"
                    ) from error
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
