"""Files on their way between the gateway and the content-addressed store.

Runs on the event loop. A file goes up in order, in chunks; when that sequence breaks (a judicator
was lost in the middle), it begins anew under another upload id. Content that is too large for a
task's document is moved out of the task here, before it is submitted.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from khala.core.task import InputFile, TaskSpec
from khala.core.transfers import FileChunk, FileStored, GetFileChunk, PutFileChunk
from khala.core.validation import MAX_INLINE_BYTES, inline_bytes, validate_spec
from khala.errors import Refusal, Unavailable
from khala.gateway.exchange import Call

CHUNK_BYTES = 1024 * 1024
MAX_CONTENT_INLINE_BYTES = 64 * 1024
UPLOAD_PATIENCE_S = 20.0
PAUSE_S = 0.3

ReadAt = Callable[[int, int], bytes]


async def put_bytes(call: Call, content: bytes) -> str:
    """Store `content`; its SHA-256."""
    sha256 = hashlib.sha256(content).hexdigest()
    await put_file(call, sha256, len(content), lambda offset, length: content[offset : offset + length])
    return sha256


async def put_file(call: Call, sha256: str, size: int, read_at: ReadAt) -> None:
    """Store a file of `size` bytes that `read_at(offset, length)` reads.

    Raises Refusal, or Unavailable once it failed for `UPLOAD_PATIENCE_S` seconds.
    """
    give_up_at = time.monotonic() + UPLOAD_PATIENCE_S
    while True:
        try:
            return await _put_once(call, sha256, size, read_at)
        except (Refusal, Unavailable) as error:
            # Another judicator than the one that has the first chunks refuses the later ones.
            broken = isinstance(error, Unavailable) or error.code in ("conflict", "not_found")
            if not broken or time.monotonic() > give_up_at:
                raise
        await asyncio.sleep(PAUSE_S)


async def read_chunk(call: Call, sha256: str, offset: int, length: int) -> FileChunk:
    """At most `length` bytes of a stored file, and its whole size; Refusal `not_found`."""
    command = GetFileChunk(sha256=sha256, offset=offset, length=length, caller=call.caller)
    return await call.ask(command, FileChunk)


async def file_chunks(call: Call, sha256: str) -> AsyncIterator[FileChunk]:
    """A stored file from its beginning to its end, chunk by chunk (an empty file has one)."""
    offset = 0
    while True:
        chunk = await read_chunk(call, sha256, offset, CHUNK_BYTES)
        yield chunk
        offset += len(chunk.data)
        if offset >= chunk.size:
            return
        if not chunk.data:
            raise Unavailable("a stored file ended before its size; try again")


async def move_large(call: Call, spec: TaskSpec) -> TaskSpec:
    """`spec` with content over 64 KiB, and more if the rest is still too much, put into the store."""
    parts = _movable(spec)
    parts.sort(key=lambda part: part.size, reverse=True)
    rest = inline_bytes(spec)
    for part in parts:
        if part.size <= MAX_CONTENT_INLINE_BYTES and rest <= MAX_INLINE_BYTES:
            break
        spec = await _move(call, spec, part)
        rest -= part.size
    validate_spec(spec)
    return spec


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A piece of content in a task: the input at `index`, or stdin when that is −1."""

    size: int
    index: int = -1


def _movable(spec: TaskSpec) -> list[_Part]:
    parts = [
        _Part(size=len(entry.content), index=index)
        for index, entry in enumerate(spec.inputs)
        if entry.content
    ]
    if spec.execute is not None and spec.execute.stdin:
        parts.append(_Part(size=len(spec.execute.stdin)))
    return parts


async def _move(call: Call, spec: TaskSpec, part: _Part) -> TaskSpec:
    if part.index < 0:
        assert spec.execute is not None
        sha256 = await put_bytes(call, spec.execute.stdin)
        return replace(spec, execute=replace(spec.execute, stdin=b"", stdin_file=sha256))
    entry = spec.inputs[part.index]
    sha256 = await put_bytes(call, entry.content)
    moved = InputFile(path=entry.path, file_id=sha256, mode=entry.mode)
    inputs = (*spec.inputs[: part.index], moved, *spec.inputs[part.index + 1 :])
    return replace(spec, inputs=inputs)


async def _put_once(call: Call, sha256: str, size: int, read_at: ReadAt) -> None:
    upload_id = secrets.token_hex(12)
    offset = 0
    while True:
        data = read_at(offset, CHUNK_BYTES)
        command = PutFileChunk(
            upload_id=upload_id, sha256=sha256, size=size, offset=offset, data=data, caller=call.caller
        )
        stored = await call.ask(command, FileStored)
        offset += len(data)
        if stored.complete:
            return
        if offset >= size:
            raise Unavailable("the store did not complete an upload; try again")
