"""Writes all that the store has into an archive, as of one moment, while it is in use.

Every collection of the database is taken, whatever is added to Khala later. All reads see the moment of
the first one (snapshot reads, in the order of `_id`), however long they take: see `history.py`. A server
that is lost in between is replaced by another member, where the reading goes on after the last document.
The caller's thread does it all; memory is bounded by a few batches of 16 MB.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import bson
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_preferences import ReadPreference

from khala import __version__
from khala.core.instant import Instant
from khala.errors import ConfigurationError, Unavailable
from khala.store.archive import ArchiveWriter, Fields, Section, documents_in
from khala.store.mongo.client import Connection, Document, MongoSettings
from khala.store.mongo.failures import is_passing, translated
from khala.store.mongo.history import HistoryWindow
from khala.store.mongo.schema import LEADER_ID, META, SCHEMA_ID

PATIENCE_S = 60.0
PAUSE_S = 0.5
SNAPSHOT_TOO_OLD = 239
Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes there are, roughly."""


def dump(
    settings: MongoSettings,
    archive: ArchiveWriter,
    at: Instant,
    progress: Progress,
    history: Callable[..., HistoryWindow] = HistoryWindow,
) -> Fields:
    """Write everything; the archive's header. The archive is not finished yet.

    Raises Unavailable when there was no primary for a minute, ConfigurationError for a wrong secret or
    a database that is no store.
    """
    connection = Connection(settings)
    try:
        with translated("read everything for a backup", writes=False):
            sections = _sections(connection)
            total_bytes = int(connection.client[settings.database].command("dbStats")["dataSize"])
            with history(connection.client, settings) as window, connection.snapshot() as session:
                header = _header(connection, session, at)
                archive.header(header)
                for section in sections:
                    archive.begin(section)
                    done_bytes = archive.total.bytes
                    collection = connection.collection(section.name)
                    for batch in _Reader(collection, session, window).batches():
                        archive.documents(batch)
                        done_bytes += len(batch)
                        progress(done_bytes, max(total_bytes, done_bytes))
                    archive.end()
            return header
    finally:
        connection.close()


def _sections(connection: Connection) -> list[Section]:
    """Every collection, those that say what the store is first."""
    database = connection.client[connection.settings.database]
    names = [name for name in database.list_collection_names() if not name.startswith("system.")]
    return [
        Section(name=name, indexes=tuple(dict(index) for index in database[name].list_indexes()))
        for name in sorted(names, key=lambda name: (name != META, name))
    ]


def _header(connection: Connection, session: ClientSession, at: Instant) -> Fields:
    """Where and when; its reads are the first of the session, and so choose the moment."""
    meta = connection.collection(META)
    schema = meta.find_one({"_id": SCHEMA_ID}, session=session)
    leader = meta.find_one({"_id": LEADER_ID}, session=session)
    if schema is None or leader is None:
        raise ConfigurationError("the database was never prepared: start a judicator on it first")
    return {
        "khala": __version__,
        "schema": schema["version"],
        "cluster_id": schema["cluster_id"],
        "generation": leader["generation"],
        "made_at": at.unix_s,
    }


class _Reader:
    """Reads one collection in the order of `_id`, again from where it was when a server is lost."""

    def __init__(
        self, collection: Collection[Document], session: ClientSession, window: HistoryWindow
    ) -> None:
        self._collection = collection.with_options(read_preference=ReadPreference.PRIMARY_PREFERRED)
        self._session = session
        self._window = window
        self._last: Any = None

    def batches(self) -> Iterator[bytes]:
        """Its documents, some MB at a time."""
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                for batch in self._from_here():
                    self._window.hold()
                    yield batch
                    give_up_at = time.monotonic() + PATIENCE_S
                return
            except PyMongoError as error:
                if isinstance(error, OperationFailure) and error.code == SNAPSHOT_TOO_OLD:
                    raise Unavailable(
                        "MongoDB no longer has the moment of this backup, as after a restart: begin it again"
                    ) from error
                if not is_passing(error) or time.monotonic() > give_up_at:
                    raise
            time.sleep(PAUSE_S)
            self._window.hold()

    def _from_here(self) -> Iterator[bytes]:
        found = self._collection.find_raw_batches(session=self._session).hint("_id_")
        again = self._last is not None
        if again:
            found = found.min([("_id", self._last)])  # of any type, unlike $gt; inclusive
        for batch in cast("Iterator[bytes]", found):
            documents = list(documents_in(batch))
            seen = len(documents[0]) if again and documents else 0
            if documents:
                again = False
                self._last = bson.decode(documents[-1])["_id"]
            if batch[seen:]:
                yield batch[seen:]
