"""Files on their way in: chunks gather in a temporary file each, and the last one stores the whole.

An upload that is left alone for a while is dropped; so many at a time, and no more, are taken.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from khala.actors.actor import NodeActor, Stage
from khala.actors.messages import Tick
from khala.actors.submissions import not_available
from khala.bus.envelope import Envelope
from khala.core.commands import FileStored, NotAvailable, PutFileChunk, Refused
from khala.errors import Refusal, Unavailable
from khala.store.interface import FileStore

CHUNK_BYTES = 1 << 20
FILE_BYTES = 1 << 30
UPLOADS_AT_ONCE = 64
IDLE_S = 60.0


@dataclass(slots=True)
class _Upload:
    spool: IO[bytes]
    received: int
    touched_at: float


class Uploads(NodeActor):
    """Its thread blocks in the store."""

    def __init__(self, stage: Stage, *, store: FileStore) -> None:
        super().__init__(stage, "uploads")
        self._store = store
        self._uploads: dict[str, _Upload] = {}

    def end(self) -> None:
        """Drop what is half done."""
        for upload in self._uploads.values():
            upload.spool.close()
        self._uploads.clear()

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """Drop what nobody continues."""
        late = self.now().boot_s - IDLE_S
        for upload_id in [key for key, upload in self._uploads.items() if upload.touched_at < late]:
            self._uploads.pop(upload_id).spool.close()

    def handle_put_file_chunk(self, chunk: PutFileChunk, envelope: Envelope) -> None:
        """Take one chunk; a file that is stored already is complete at its first."""
        try:
            answer: object = FileStored(sha256=chunk.sha256, complete=self._take(chunk))
        except Refusal as why:
            self._forget(chunk.upload_id)
            answer = Refused(code=why.code, detail=why.detail, field=why.field)
        except Unavailable as why:
            self._forget(chunk.upload_id)
            answer = not_available(why)
        except OSError as why:
            self._forget(chunk.upload_id)
            answer = NotAvailable(detail=f"no room to take the file: {why.strerror}", retry_after_s=5.0)
        self.stage.bus.reply(envelope, answer)

    def _take(self, chunk: PutFileChunk) -> bool:
        if chunk.size > FILE_BYTES or len(chunk.data) > CHUNK_BYTES:
            raise Refusal(
                f"a file has at most {FILE_BYTES} bytes, sent in chunks of at most {CHUNK_BYTES}",
                code="too_large",
                field="size",
            )
        upload = self._uploads.get(chunk.upload_id)
        if upload is None:
            if chunk.offset == 0 and self._store.has_file(chunk.sha256):
                return True
            upload = self._begin(chunk.upload_id)
        if chunk.offset != upload.received:
            raise Refusal(
                f"expected the chunk at {upload.received}, got {chunk.offset}: start the upload again",
                code="conflict",
                field="offset",
            )
        upload.spool.write(chunk.data)
        upload.received += len(chunk.data)
        upload.touched_at = self.now().boot_s
        if upload.received < chunk.size:
            return False
        upload.spool.seek(0)
        self._store.put_file(chunk.sha256, chunk.size, _chunks(upload.spool))
        self._forget(chunk.upload_id)
        return True

    def _begin(self, upload_id: str) -> _Upload:
        if len(self._uploads) >= UPLOADS_AT_ONCE:
            raise Unavailable(f"{UPLOADS_AT_ONCE} uploads are under way", retry_after_s=2.0)
        spool = tempfile.TemporaryFile(prefix="khala-upload-")  # noqa: SIM115 (closed by _forget)
        upload = _Upload(spool, 0, self.now().boot_s)
        self._uploads[upload_id] = upload
        return upload

    def _forget(self, upload_id: str) -> None:
        upload = self._uploads.pop(upload_id, None)
        if upload is not None:
            upload.spool.close()


def _chunks(spool: IO[bytes]) -> Iterator[bytes]:
    while data := spool.read(CHUNK_BYTES):
        yield data
