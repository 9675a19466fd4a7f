"""Output streams as chains of chunks, one document each.

Any thread may call. `_id` is the stream's name and the chunk's offset, so that the index which every
collection has anyway finds a stream's chunks in order. A chunk is inserted only where a majority shows
the end of its stream; ends only grow, and one offset has one document: so no chain has a gap, whoever
inserts at the same time, and a late or doubled insert meets the document that took its place.
"""

from __future__ import annotations

from collections.abc import Sequence

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import BulkWriteError

from khala.core.output import OutputChunk, StreamKey
from khala.errors import Fault, Unavailable
from khala.store.mongo.client import Connection, Document
from khala.store.mongo.failures import DUPLICATE_KEY
from khala.store.mongo.leadership import generation_of
from khala.store.mongo.schema import META, OUTPUTS

ROUNDS_MOST = 32


class MongoOutputs:
    """OutputStore."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._outputs = connection.collection(OUTPUTS)
        self._meta = connection.collection(META)

    def generation(self) -> int:
        """See OutputStore."""
        with self._connection.reading("look which generation it is"):
            return generation_of(self._meta)

    def put_output(self, chunks: Sequence[OutputChunk]) -> Sequence[int]:
        """See OutputStore."""
        with self._connection.writing("store output"):
            keys = dict.fromkeys(chunk.key for chunk in chunks)
            for _ in range(ROUNDS_MOST):
                ends = {key: self._end(key) for key in keys}
                wanted, after = _appended(chunks, ends)
                if not wanted or self._insert(wanted):
                    return [after[chunk.key] for chunk in chunks]
        raise Unavailable("others store the same output at the same time: try again")

    def read_output(self, key: StreamKey, offset: int, length: int) -> bytes:
        """See OutputStore."""
        begin, end = max(offset, 0), max(offset, 0) + max(length, 0)
        if begin >= end:
            return b""
        with self._connection.reading("read output"):
            first = self._outputs.find_one(
                {"_id": {"$gte": _id(key, 0), "$lte": _id(key, begin)}},
                {"_id": 1},
                sort=[("_id", DESCENDING)],
            )
            if first is None:
                return b""
            parts = self._outputs.find({"_id": {"$gte": first["_id"], "$lt": _id(key, end)}})
            data, at = bytearray(), begin
            for part in parts.sort("_id", ASCENDING):
                skip = at - _offset(part)
                if skip < 0:
                    raise Fault(f"the output {key} lacks chunks before {at}: restore it from a backup")
                data += part["data"][skip:]
                at = max(at, part["end"])
            return bytes(data[: end - begin])

    def outputs_beyond(self, ends: Sequence[tuple[StreamKey, int]]) -> Sequence[StreamKey]:
        """See OutputStore. The next chunk begins where the last one ended, so its `_id` is known."""
        awaited = {_id(key, end): key for key, end in ends}
        with self._connection.reading("look for more output"):
            found = self._outputs.find({"_id": {"$in": list(awaited)}}, {"_id": 1})
            return [awaited[each["_id"]] for each in found]

    def output_sizes(self, keys: Sequence[StreamKey]) -> Sequence[int]:
        """See OutputStore."""
        with self._connection.reading("look how far output is"):
            return [self._end(key) for key in keys]

    def _end(self, key: StreamKey) -> int:
        last = self._outputs.find_one(
            {"_id": {"$gte": _id(key, 0), "$lte": _id(key, (1 << 63) - 1)}},
            {"end": 1},
            sort=[("_id", DESCENDING)],
        )
        return 0 if last is None else int(last["end"])

    def _insert(self, documents: Sequence[Document]) -> bool:
        """Insert in order; False if one of them met another's."""
        try:
            self._outputs.insert_many(documents, ordered=True)
        except BulkWriteError as error:
            met = error.details.get("writeErrors", [])
            if met and all(each["code"] == DUPLICATE_KEY for each in met):
                return False
            raise
        return True


def _appended(
    chunks: Sequence[OutputChunk], ends: dict[StreamKey, int]
) -> tuple[list[Document], dict[StreamKey, int]]:
    """The documents of those chunks that continue their stream, and where the streams end then."""
    documents, after = [], dict(ends)
    for chunk in chunks:
        if chunk.data and chunk.offset == after[chunk.key]:
            after[chunk.key] += len(chunk.data)
            documents.append(
                {"_id": _id(chunk.key, chunk.offset), "end": after[chunk.key], "data": chunk.data}
            )
    return documents, after


def _id(key: StreamKey, offset: int) -> str:
    return f"{key.task_id}/{key.attempt:010d}/{key.phase}/{key.stream}/{offset:016x}"


def _offset(document: Document) -> int:
    return int(document["_id"].rpartition("/")[2], 16)
