"""Answers that are files: streamed, always saved and never shown by a browser.

Runs on the event loop. Once the first byte is out an error can only cut the connection; the declared
length tells the client.
"""

from __future__ import annotations

import io
from typing import BinaryIO
from urllib.parse import quote

from sanic.response import HTTPResponse

from khala.gateway.exchange import Call
from khala.gateway.uploads import file_chunks

BYTES = "application/octet-stream"
BLOCK_BYTES = 256 * 1024


async def send_stored(call: Call, sha256: str, filename: str, content_type: str) -> HTTPResponse | None:
    """Stream a stored file as a download; Refusal `not_found` before anything was sent."""
    chunks = file_chunks(call, sha256)
    first = await anext(chunks)
    if len(first.data) >= first.size:
        return attachment(first.data, filename, content_type)
    response = await call.request.respond(
        headers={**as_attachment(filename), "Content-Length": str(first.size)}, content_type=content_type
    )
    await response.send(first.data)
    async for chunk in chunks:
        await response.send(chunk.data)
    return None


async def send_spooled(call: Call, file: BinaryIO, filename: str, content_type: str) -> None:
    """Stream a temporary file from its beginning as a download."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    response = await call.request.respond(
        headers={**as_attachment(filename), "Content-Length": str(size)}, content_type=content_type
    )
    while data := file.read(BLOCK_BYTES):
        await response.send(data)


def attachment(content: bytes, filename: str, content_type: str) -> HTTPResponse:
    """A small download."""
    return HTTPResponse(content, headers=as_attachment(filename), content_type=content_type)


def as_attachment(filename: str) -> dict[str, str]:
    """The header that makes a browser save an answer instead of showing it (RFC 6266); a name that is
    more than plain ASCII goes in both forms."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in filename)
    header = f'attachment; filename="{plain}"'
    if plain != filename:
        header += f"; filename*=UTF-8''{quote(filename, safe='')}"
    return {"Content-Disposition": header}
