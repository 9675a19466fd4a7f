"""Stored files for an executor's slots: fetched from a judicator once, then kept in a bounded cache.

Called from the slots' threads; a fetch blocks its slot and nobody else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from khala.bus.rpc_client import RpcClient
from khala.core.commands import Caller
from khala.core.transfers import FileChunk, GetFileChunk
from khala.errors import KhalaError, Unavailable
from khala.execution.file_cache import FileCache

CHUNK_BYTES = 1 << 20
TRY_FOR_S = 600.0
PAUSE_S = 0.5


class StoredFiles:
    """`fetch` pins a file until `release` is called as often."""

    def __init__(self, cache: FileCache, rpc: RpcClient, caller: Caller) -> None:
        self._cache = cache
        self._rpc = rpc
        self._caller = caller
        self._lock = threading.Lock()

    def fetch(self, sha256: str) -> Path:
        """The local path of a stored file. Raises Refusal if there is none, and Unavailable when no
        judicator could give it within ten minutes."""
        with self._lock:  # two slots that want the same file fetch it once
            self._cache.pin(sha256)
            try:
                return self._cache.path_of(sha256) or self._cache.add(sha256, self._chunks(sha256))
            except KhalaError:
                self._cache.unpin(sha256)
                raise

    def release(self, sha256: str) -> None:
        """One user of the file less."""
        self._cache.unpin(sha256)

    def _chunks(self, sha256: str) -> Iterator[bytes]:
        offset, size = 0, 1
        while offset < size:
            chunk = self._chunk(sha256, offset)
            size = chunk.size
            offset += len(chunk.data)
            yield chunk.data

    def _chunk(self, sha256: str, offset: int) -> FileChunk:
        deadline = time.monotonic() + TRY_FOR_S
        command = GetFileChunk(sha256=sha256, offset=offset, length=CHUNK_BYTES, caller=self._caller)
        while True:
            try:
                chunk = self._rpc.call(command, timeout_s=10.0).result()
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                threading.Event().wait(PAUSE_S)
                continue
            if not isinstance(chunk, FileChunk):
                raise Unavailable(f"a judicator answered {type(chunk).__name__} for a part of a file")
            return chunk
