"""What the database holds besides data: schema version, cluster id, epoch document, indexes.

Runs in the thread that prepares the store, on every judicator's start; all of it is idempotent and
safe when several judicators do it at once.

Judicators one version apart work on one store (P16), so a version may only add to the one before it: fields
that the older one passes over and never takes away, collections and indexes that it does not know. The
first judicator of a newer version raises the store's version, and nobody lowers it.
"""

from __future__ import annotations

import uuid

from pymongo import ASCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from khala.errors import ConfigurationError
from khala.store.mongo.client import Connection, Document

SCHEMA_VERSION = 1
OLDEST_SERVER = (5, 0)  # snapshot reads outside transactions
META, TASKS, TOKENS, FILES, CHUNKS = "meta", "tasks", "tokens", "files.files", "files.chunks"
USERS, AUDIT = "users", "audit"
OUTPUTS, JOBS, REMOVALS, CANCELS = "outputs", "jobs", "removals", "cancels"
SCHEMA_ID, LEADER_ID, TOKENS_ID = "schema", "leader", "tokens"
QUEUE_INDEX, CREATED_INDEX, OWNER_INDEX = "queue", "created", "owner"
USER_INDEX = "user"

# As soon as a write changes one indexed field (each transition changes `state`), the server works out the
# keys of every index of the task, and in a transaction it reads the catalog's whole entry twice for each of
# them, with all of them in it (6.0, SortedDataIndexAccessMethod::update): with six indexes that was a third
# of its CPU time. So there are few: a search by executor, exit reason, name or label walks `created`. What is
# to be removed, and when, is a collection of its own, and so are cancel requests, so that a task without any
# costs nothing. (`queue`, by merging its states, is no order of time for pages far behind: tried, 0.3 s.)
TASK_INDEXES = [
    IndexModel([("state", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)], name=QUEUE_INDEX),
    IndexModel([("created_at", ASCENDING), ("_id", ASCENDING)], name=CREATED_INDEX),
    IndexModel([("spec.user", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)], name=USER_INDEX),
    IndexModel(
        [("owner", ASCENDING), ("state", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)],
        name=OWNER_INDEX,
    ),
]


def prepare_schema(connection: Connection, first_generation: int) -> str:
    """Make or verify everything; returns the cluster id. ConfigurationError for another version."""
    with connection.writing("prepare the schema"):
        server = connection.client.server_info()["versionArray"]
        if tuple(server[:2]) < OLDEST_SERVER:
            raise ConfigurationError(
                f"mongod is {server[0]}.{server[1]}; Khala needs 5.0 or newer: point --mongodb-exe at one"
            )
        schema = _once(connection, SCHEMA_ID, {"version": SCHEMA_VERSION, "cluster_id": uuid.uuid4().hex})
        check_version(schema["version"], f"the database {connection.settings.database!r}")
        connection.collection(TASKS).create_indexes(TASK_INDEXES)
        # GridFS's own indexes, but unique in the name: a digest is stored once.
        connection.collection(FILES).create_indexes(
            [
                IndexModel([("filename", ASCENDING)], unique=True),
                IndexModel([("metadata.owner", ASCENDING), ("length", ASCENDING)], name="owner", sparse=True),
            ]
        )
        connection.collection(TOKENS).create_indexes([IndexModel([("user", ASCENDING)])])
        connection.collection(AUDIT).create_indexes([IndexModel([("user", ASCENDING), ("_id", ASCENDING)])])
        connection.collection(CHUNKS).create_indexes(
            [IndexModel([("files_id", ASCENDING), ("n", ASCENDING)], unique=True)]
        )
        connection.collection(JOBS).create_indexes(
            [
                IndexModel([("created_at", ASCENDING), ("_id", ASCENDING)], name=CREATED_INDEX),
                IndexModel([("owner", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)]),
                IndexModel([("open_at", ASCENDING), ("_id", ASCENDING)], name="open", sparse=True),
                IndexModel([("finished_at", ASCENDING), ("_id", ASCENDING)], name="finished"),
            ]
        )
        connection.collection(REMOVALS).create_indexes(
            [IndexModel([("what", ASCENDING), ("at", ASCENDING)], name="due")]
        )
        # Only to be there: a backup names the collections before it chooses its moment.
        for name in (OUTPUTS, CANCELS):
            connection.collection(name).create_indexes([IndexModel([("_id", ASCENDING)], name="_id_")])
        _once(
            connection, LEADER_ID, {"generation": first_generation, "number": 0, "holder": "", "batches": 0}
        )
        _once(connection, TOKENS_ID, {"count": 0})
        connection.collection(META).update_one({"_id": SCHEMA_ID}, {"$max": {"version": SCHEMA_VERSION}})
        return str(schema["cluster_id"])


def check_version(found: object, whose: str) -> None:
    """ConfigurationError unless this Khala works with schema version `found`, of what `whose` says."""
    if not isinstance(found, int) or abs(found - SCHEMA_VERSION) > 1:
        raise ConfigurationError(
            f"{whose} has schema version {found}, and this Khala works with {SCHEMA_VERSION - 1} to "
            f"{SCHEMA_VERSION + 1}: upgrade or downgrade one version at a time, or start with an empty data "
            "directory"
        )


def _once(connection: Connection, name: str, fields: Document) -> Document:
    """The meta document `name`, made with `fields` if there is none."""
    meta = connection.collection(META)
    try:
        stored = meta.find_one_and_update(
            {"_id": name}, {"$setOnInsert": fields}, upsert=True, return_document=ReturnDocument.AFTER
        )
    except DuplicateKeyError:  # another judicator made it in the same moment
        stored = meta.find_one({"_id": name})
    return dict(stored or fields)
