"""Sending stored files: whole, by range, and with the digest as a validator (RFC 9110).

Runs on the event loop; a part is asked for only when the one before it has left for the client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from sanic.response import HTTPResponse

from khala.errors import Refusal, Unavailable
from khala.gateway.downloads import BYTES, as_attachment
from khala.gateway.exchange import Call
from khala.gateway.outputs import span_of
from khala.gateway.problems import problem_response
from khala.gateway.uploads import CHUNK_BYTES, read_chunk


async def send_file(call: Call, sha256: str, filename: str) -> HTTPResponse | None:
    """The file, or the part of it that a Range asks for; Refusal `not_found` before anything is sent."""
    request = call.request
    size = (await read_chunk(call, sha256, 0, 1)).size
    tag = f'"{sha256}"'
    headers = {
        **as_attachment(filename),
        "Accept-Ranges": "bytes",
        "ETag": tag,
        "Cache-Control": "private, no-cache",
    }
    if _names(request.headers.get("if-none-match"), tag):
        return HTTPResponse(b"", status=304, headers=headers)
    same = request.headers.get("if-range", tag).strip() == tag
    span = span_of(request.headers.get("range") if same else None, size)
    if span is None:
        refusal = Refusal(f"there are {size} bytes", code="range_not_satisfiable", field="Range")
        answer = problem_response(request, refusal)
        answer.headers["Content-Range"] = f"bytes */{size}"
        return answer
    if span.partial:
        headers["Content-Range"] = f"bytes {span.begin}-{span.end - 1}/{size}"
    headers["Content-Length"] = str(span.end - span.begin)
    status = 206 if span.partial else 200
    if request.method == "HEAD":
        return HTTPResponse(b"", status=status, headers=headers, content_type=BYTES)
    response = await request.respond(status=status, headers=headers, content_type=BYTES)
    async for data in bytes_of(call, sha256, span.begin, span.end):
        await response.send(data)
    return None


async def bytes_of(call: Call, sha256: str, begin: int, end: int) -> AsyncIterator[bytes]:
    """The bytes of a stored file from `begin` to before `end`."""
    while begin < end:
        chunk = await read_chunk(call, sha256, begin, min(CHUNK_BYTES, end - begin))
        if not chunk.data:
            raise Unavailable("a stored file ended before its size; try again")
        begin += len(chunk.data)
        yield chunk.data


def _names(header: str | None, tag: str) -> bool:
    """Does an If-None-Match name this tag, also as a weak one?"""
    tags = [part.strip().removeprefix("W/") for part in (header or "").split(",")]
    return tag in tags or tags == ["*"]
