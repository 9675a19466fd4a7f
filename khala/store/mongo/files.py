"""Files in GridFS, named by the SHA-256 of their bytes.

Any thread may call. A file is visible only once its last document, written after all of its verified
chunks, is on a majority; what a broken upload leaves are chunks that belong to no file.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence

from bson import ObjectId
from gridfs import GridFSBucket, GridIn
from gridfs.errors import FileExists
from pymongo import ASCENDING
from pymongo.errors import PyMongoError

from khala.errors import Fault
from khala.store.digests import check_sha256, not_stored, verified
from khala.store.mongo.client import Connection, Document
from khala.store.mongo.schema import CHUNKS, FILES

CHUNK_BYTES = 1 << 20
USED: Document = {"$currentDate": {"metadata.touched_at": True}}


class MongoFiles:
    """FileStore."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._files = connection.collection(FILES)
        self._chunks = connection.collection(CHUNKS)
        self._bucket = GridFSBucket(self._files.database, bucket_name="files", chunk_size_bytes=CHUNK_BYTES)

    def has_file(self, sha256: str) -> bool:
        """See FileStore. Asking marks the file as used, so that collecting garbage loses the race (P6)."""
        check_sha256(sha256)
        with self._connection.writing("look for a file"):
            return self._touch(sha256)

    def touch_files(self, sha256s: Sequence[str]) -> None:
        """See FileStore."""
        if sha256s:
            with self._connection.writing("note that files are used"):
                self._files.update_many({"filename": {"$in": list(sha256s)}}, USED)

    def put_file(self, sha256: str, size: int, chunks: Iterator[bytes], owner: str = "") -> None:
        """See FileStore."""
        check_sha256(sha256)
        content = verified(sha256, size, chunks)
        with self._connection.writing("store a file"):
            if self._touch(sha256):
                deque(content, maxlen=0)  # only to verify it
                return
            metadata = {"owner": owner} if owner else None
            upload = self._bucket.open_upload_stream(sha256, metadata=metadata)
            self._send(upload, content)
            try:
                # From here on nothing is taken back: when the answer is lost, the file may be in use already.
                upload.close()
            except FileExists:
                self._forget(upload._id)
                self._touch(sha256)

    def read_file(self, sha256: str, offset: int, length: int) -> tuple[int, bytes]:
        """See FileStore."""
        check_sha256(sha256)
        with self._connection.reading("read a file"):
            file = self._files.find_one({"filename": sha256})
            if file is None:
                raise not_stored(sha256)
            begin = max(offset, 0)
            end = min(begin + max(length, 0), file["length"])
            return file["length"], self._range(file, begin, end) if begin < end else b""

    def _range(self, file: Document, begin: int, end: int) -> bytes:
        first, last = begin // file["chunkSize"], (end - 1) // file["chunkSize"]
        parts = self._chunks.find({"files_id": file["_id"], "n": {"$gte": first, "$lte": last}}, {"data": 1})
        data = b"".join(part["data"] for part in parts.sort("n", ASCENDING))
        skip = begin - first * file["chunkSize"]
        wanted = data[skip : skip + end - begin]
        if len(wanted) != end - begin:
            raise Fault(f"file {file['filename']} lacks chunks: restore it from a backup or upload it again")
        return wanted

    def _touch(self, sha256: str) -> bool:
        """Write the time of last use, by the server's clock; False if there is no such file."""
        return self._files.update_one({"filename": sha256}, USED).matched_count == 1

    def _send(self, upload: GridIn, content: Iterator[bytes]) -> None:
        try:
            for chunk in content:
                upload.write(chunk)
        except BaseException:
            self._forget(upload._id)
            raise

    def _forget(self, upload_id: ObjectId) -> None:
        """Remove the chunks of an upload that will never be a file; if it fails they only take room."""
        with contextlib.suppress(PyMongoError):
            self._chunks.delete_many({"files_id": upload_id})
