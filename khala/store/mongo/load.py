"""Loads an archive into an empty mongod that runs alone, before any node has used it, or only reads it.

The mongod is a standalone server (a replica set is made of it later), reached by this process only: it
gets a user for the time of loading. The caller's thread does it all, and stops the mongod afterwards; only
a clean stop makes the data durable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database

from khala.core.access import ADMIN, EXECUTOR
from khala.errors import ConfigurationError
from khala.store.archive import ArchiveReader, Section, documents_in
from khala.store.mongo.client import USER, Document, MongoSettings, login, mongo_password
from khala.store.mongo.failures import translated
from khala.store.mongo.leadership import begin_generation
from khala.store.mongo.schema import META, TOKENS, check_version

TIMEOUT_S = 60.0
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


def verify(archive: ArchiveReader) -> None:
    """Read all of `archive`; its `contents` are sure then. ConfigurationError as `load` raises it."""
    check_version(archive.header.get("schema"), "the backup")
    for _, batches in archive.sections():
        deque(batches, maxlen=0)


def load(settings: MongoSettings, archive: ArchiveReader, *, now_s: int, admin_token_digest: str = "") -> int:
    """Load all of `archive` into the mongod at `settings.hosts[0]`; the new generation that it has (P4).

    `settings.secret` is only for the time of loading. The digest is of an administrator's token to add.
    ConfigurationError when the archive is damaged, is of a schema that this Khala does not know, or the
    database is not empty: throw the data away then.
    """
    check_version(archive.header.get("schema"), "the backup")
    with translated("load the backup", writes=False):
        with _alone(settings, {}) as local:
            local.admin.command("createUser", USER, pwd=mongo_password(settings.secret), roles=["root"])
        with _alone(settings, login(settings)) as client:
            database = client[settings.database]
            if database.list_collection_names():
                raise ConfigurationError(f"mongod at {settings.hosts[0]} has data already")
            for section, batches in archive.sections():
                _load_section(database, section, batches)
            generation = begin_generation(database[META], now_s)
            _renew_tokens(database, admin_token_digest)
            client.admin.command("fsync")
            client.admin.command("dropUser", USER, writeConcern={"w": 1, "j": True})
    return generation


def _load_section(database: Database[Document], section: Section, batches: Iterator[bytes]) -> None:
    database.create_collection(section.name)
    indexes = [dict(index) for index in section.indexes if index["name"] != "_id_"]
    if indexes:
        database.command("createIndexes", section.name, indexes=indexes)
    raw = database.get_collection(section.name, codec_options=_RAW)
    for batch in batches:
        documents = [RawBSONDocument(bytes(document)) for document in documents_in(batch)]
        raw.insert_many(documents, ordered=False)


def _renew_tokens(database: Database[Document], admin_token_digest: str) -> None:
    """The executors' token follows from the secret, maybe another one now: the first judicator makes it."""
    tokens = database[TOKENS]
    tokens.delete_many({"role": EXECUTOR})
    if admin_token_digest:
        tokens.insert_one({"_id": admin_token_digest, "name": "restored", "role": ADMIN})


def _alone(settings: MongoSettings, credentials: Document) -> MongoClient[Document]:
    return MongoClient(
        settings.hosts[0],
        directConnection=True,
        w=1,
        serverSelectionTimeoutMS=8_000,
        timeoutMS=int(TIMEOUT_S * 1000),
        appname="khala-restore",
        **credentials,
    )
