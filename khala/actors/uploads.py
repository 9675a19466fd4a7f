"""Files on their way in: chunks gather in a temporary file each, and the last one stores the whole.

The last chunk may be sent again when its answer was lost or the store was not there. An upload that is
left alone for a while is dropped; so many at a time, and so many bytes in all, are taken. Its thread
blocks in the store.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from khala.actors.actor import NodeActor, Stage
from khala.actors.answering import not_available, refused
from khala.actors.messages import Began, CallsAnswered, TakeChunk, Tick
from khala.actors.quotas import check_stored_bytes
from khala.bus.envelope import Envelope
from khala.core.access import EXECUTOR, Identity
from khala.core.commands import NotAvailable
from khala.core.transfers import FileStored, PutFileChunk
from khala.errors import Refusal, Unavailable
from khala.store.interface import Store

CHUNK_BYTES = 1 << 20
FILE_BYTES = 1 << 30
SPOOLED_BYTES = 4 << 30
UPLOADS_AT_ONCE = 64
UPLOAD_ID_CHARS = 200
IDLE_S = 60.0


@dataclass(slots=True)
class _Upload:
    owner: str
    sha256: str
    size: int
    spool: IO[bytes]
    received: int
    touched_at: float


class Uploads(NodeActor):
    """`directory` is where unfinished uploads are kept (None: the host's own for temporary files).

    The front door has looked at each chunk by itself (`check_chunk`).
    """

    def __init__(self, stage: Stage, *, store: Store, directory: Path | None = None) -> None:
        super().__init__(stage, "uploads")
        self._store = store
        self._directory = directory
        self._uploads: dict[str, _Upload] = {}

    def begin(self) -> None:
        """What was sent to an earlier one is no longer on its way."""
        self.tell("judicator", Began(self.name))

    def end(self) -> None:
        """Drop what is half done."""
        for upload in self._uploads.values():
            upload.spool.close()
        self._uploads.clear()

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """Drop what nobody continues."""
        late = self.now().boot_s - IDLE_S
        for upload_id in [key for key, upload in self._uploads.items() if upload.touched_at < late]:
            self._forget(upload_id)

    def handle_take_chunk(self, take: TakeChunk, envelope: Envelope) -> None:
        """Take one chunk; a file that is stored already is complete at its first."""
        chunk = take.chunk
        try:
            answer: object = FileStored(sha256=chunk.sha256, complete=self._take(chunk, take.who))
        except Refusal as why:
            self._forget(chunk.upload_id)
            answer = refused(why)
        except Unavailable as why:
            answer = not_available(why)
        except OSError as why:
            self._forget(chunk.upload_id)
            answer = NotAvailable(detail=f"no room to take the file: {why.strerror}", retry_after_s=5.0)
        self.reply(envelope, answer)
        self.tell("judicator", CallsAnswered(self.name, 1, len(chunk.data)))

    def _take(self, chunk: PutFileChunk, who: Identity) -> bool:
        upload = self._uploads.get(chunk.upload_id)
        if upload is not None and upload.owner != _owner(who):
            raise Refusal("another user's upload has this upload_id", code="conflict", field="upload_id")
        if upload is None:
            if self._store.has_file(chunk.sha256):
                return True
            check_stored_bytes(self._store, who.user, who.quota.stored_bytes, chunk.size)
            upload = self._begin(chunk, _owner(who))
        upload.touched_at = self.now().boot_s
        self._append(upload, chunk)
        if upload.received < upload.size:
            return False
        upload.spool.seek(0)
        self._store.put_file(upload.sha256, upload.size, _parts(upload.spool), upload.owner)
        self._forget(chunk.upload_id)
        return True

    def _append(self, upload: _Upload, chunk: PutFileChunk) -> None:
        """Write a chunk in its place: the next one, or the last one once more."""
        end = chunk.offset + len(chunk.data)
        if (chunk.sha256, chunk.size) != (upload.sha256, upload.size):
            raise _conflict("sha256", "the upload began with another digest or size")
        if chunk.offset != upload.received and end != upload.received:
            raise _conflict("offset", f"expected the chunk at {upload.received}, got {chunk.offset}")
        upload.spool.seek(chunk.offset)
        upload.spool.write(chunk.data)
        upload.received = end

    def _begin(self, chunk: PutFileChunk, owner: str) -> _Upload:
        if chunk.offset != 0:
            raise _conflict("offset", f"expected the chunk at 0, got {chunk.offset}")
        promised = sum(upload.size for upload in self._uploads.values())
        if len(self._uploads) >= UPLOADS_AT_ONCE or promised + chunk.size > SPOOLED_BYTES:
            raise Unavailable(
                f"{len(self._uploads)} uploads of {promised} bytes are under way", retry_after_s=2.0
            )
        spool = tempfile.TemporaryFile(prefix="khala-upload-", dir=self._directory)  # noqa: SIM115
        upload = _Upload(owner, chunk.sha256, chunk.size, spool, 0, self.now().boot_s)
        self._uploads[chunk.upload_id] = upload
        return upload

    def _forget(self, upload_id: str) -> None:
        upload = self._uploads.pop(upload_id, None)
        if upload is not None:
            upload.spool.close()


def check_chunk(chunk: PutFileChunk) -> None:
    """Raise Refusal for a chunk that no upload could take."""
    if chunk.size > FILE_BYTES or len(chunk.data) > CHUNK_BYTES:
        raise Refusal(
            f"a file has at most {FILE_BYTES} bytes, sent in chunks of at most {CHUNK_BYTES}",
            code="too_large",
            field="size",
        )
    if not 0 < len(chunk.upload_id) <= UPLOAD_ID_CHARS:
        raise Refusal(f"upload_id has 1 to {UPLOAD_ID_CHARS} characters", field="upload_id")
    if chunk.offset < 0 or chunk.offset + len(chunk.data) > chunk.size:
        raise Refusal(f"a chunk beyond the {chunk.size} bytes of its file", field="offset")
    if not chunk.data and chunk.size:
        raise Refusal("an empty chunk of a file that is not empty", field="data")


def _owner(who: Identity) -> str:
    """Whose file it is; what executors collect is nobody's upload."""
    return "" if who.role == EXECUTOR else who.user


def _conflict(field: str, detail: str) -> Refusal:
    return Refusal(f"{detail}: start the upload again", code="conflict", field=field)


def _parts(spool: IO[bytes]) -> Iterator[bytes]:
    while data := spool.read(CHUNK_BYTES):
        yield data
