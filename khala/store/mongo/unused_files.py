"""Finding and removing files that nothing refers to any more, in MongoDB. Any thread may call.

A file goes by a compare-and-set on its last use (P6), before its chunks do; what a crash leaves are chunks
that belong to no file, as a broken upload does.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING
from pymongo.collection import Collection

from khala.core.retention import FilePage, FileUse
from khala.store.mongo.client import Connection, Document
from khala.store.mongo.schema import CHUNKS, CREATED_INDEX, FILES, JOBS, TASKS
from khala.store.mongo.selection import EVER, between

_SPEC = ("inputs.file_id", "archives.file_id", "compile.stdin_file", "execute.stdin_file")
_TASK: Document = dict.fromkeys(
    ("created_at", "result.outputs.sha256", *(f"spec.{field}" for field in _SPEC)), 1
)
_JOB: Document = dict.fromkeys(("created_at", "rows_file", *(f"template.{field}" for field in _SPEC)), 1)
_NAMES = frozenset({"file_id", "stdin_file", "sha256", "rows_file"})


class MongoUnusedFiles:
    """The part of RetentionStore that is about files."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stored = connection.collection(FILES)
        self._parts = connection.collection(CHUNKS)

    def files_unused_since(self, at: float, after: str, limit: int) -> tuple[list[FileUse], str]:
        """See RetentionStore."""
        with self._connection.reading("look for unused files"):
            found = self._stored.find(
                {"filename": {"$gt": after}}, {"filename": 1, "uploadDate": 1, "metadata.touched_at": 1}
            )
            files = list(found.sort("filename", ASCENDING).limit(limit))
        before = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
        old = [FileUse(each["filename"], _used(each).isoformat()) for each in files if _used(each) < before]
        return old, files[-1]["filename"] if len(files) == limit else ""

    def files_of_tasks(self, after: tuple[float, str], limit: int) -> FilePage:
        """See RetentionStore."""
        return self._page(self._connection.collection(TASKS), _TASK, after, limit)

    def files_of_jobs(self, after: tuple[float, str], limit: int) -> FilePage:
        """See RetentionStore."""
        return self._page(self._connection.collection(JOBS), _JOB, after, limit)

    def drop_file(self, use: FileUse) -> bool:
        """See RetentionStore."""
        used = datetime.fromisoformat(use.used)
        same = {"$or": [{"metadata.touched_at": used}, {"metadata.touched_at": None, "uploadDate": used}]}
        with self._connection.writing("remove a file"):
            gone = self._stored.find_one_and_delete({"filename": use.sha256, **same}, {"_id": 1})
            if gone is not None:
                self._parts.delete_many({"files_id": gone["_id"]})
        return gone is not None

    def sweep_uploads(self, begun_before: float, after: str, limit: int) -> str:
        """See RetentionStore. The id of an upload begins with its time."""
        end = ObjectId.from_datetime(datetime.fromtimestamp(begun_before, UTC))
        at = ObjectId(after) if after else ObjectId("0" * 24)
        seen: list[ObjectId] = []
        with self._connection.writing("look for broken uploads"):
            while len(seen) < limit:
                first = self._parts.find_one(
                    {"files_id": {"$gt": at, "$lt": end}}, {"files_id": 1}, sort=[("files_id", ASCENDING)]
                )
                if first is None:
                    break
                at = first["files_id"]
                seen.append(at)
            whole = {each["_id"] for each in self._stored.find({"_id": {"$in": seen}}, {"_id": 1})}
            for upload in seen:
                if upload not in whole:
                    self._parts.delete_many({"files_id": upload})
        return str(at) if len(seen) == limit else ""

    def _page(
        self, collection: Collection[Document], fields: Document, after: tuple[float, str], limit: int
    ) -> FilePage:
        window = between({"created_at": EVER}, after, None, ascending=True)
        with self._connection.reading("look which files are needed"):
            found = collection.find(window, fields).hint(CREATED_INDEX)
            page = list(found.sort([("created_at", ASCENDING), ("_id", ASCENDING)]).limit(limit))
        last = (page[-1]["created_at"], page[-1]["_id"]) if len(page) == limit else None
        return FilePage(sha256s=frozenset(_named(page)), last=last)


def _used(file: Document) -> datetime:
    """By the server's clock, as pymongo reads it: UTC without a zone."""
    touched: datetime = (file.get("metadata") or {}).get("touched_at") or file["uploadDate"]
    return touched


def _named(value: Any) -> Iterator[str]:
    """Every file that a document names, however deep."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _NAMES:
                yield from [inner] if inner else []
            else:
                yield from _named(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner)
