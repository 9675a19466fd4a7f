"""The output of an attempt's phase: read in parts, sent as a whole or by range.

Runs on the event loop. A part is asked for only when the one before it has left for the client, so a
slow reader holds one part here and nothing of the task.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from sanic.response import HTTPResponse

from khala.core.output import CHUNK_BYTES
from khala.core.transfers import GetOutput, OutputPart
from khala.errors import Refusal, Unavailable
from khala.gateway.downloads import BYTES, as_attachment
from khala.gateway.exchange import Call
from khala.gateway.problems import problem_response

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputName:
    """One stream of one attempt; attempt 0 is the newest."""

    task_id: str
    attempt: int
    phase: str
    stream: str


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `begin` to before `end`; `partial` when they were asked for by a Range."""

    begin: int
    end: int
    partial: bool = False


async def read_part(
    call: Call, name: OutputName, offset: int, length: int = CHUNK_BYTES, *, wait_s: float = 0.0
) -> OutputPart:
    """A part as it is now, or once there is one, or after `wait_s` seconds; Refusal `not_found`."""
    command = GetOutput(
        task_id=name.task_id,
        attempt=name.attempt,
        phase=name.phase,
        stream=name.stream,
        offset=offset,
        length=length,
        wait_s=wait_s,
        caller=call.caller,
    )
    return await call.ask(command, OutputPart, timeout_s=wait_s + 10.0)


async def parts_of(call: Call, name: OutputName, begin: int, end: int) -> AsyncIterator[bytes]:
    """The bytes from `begin` to before `end`, which must be there."""
    while begin < end:
        part = await read_part(call, name, begin, min(CHUNK_BYTES, end - begin))
        if not part.data:
            raise Unavailable("an output ended before its size; try again")
        begin += len(part.data)
        yield part.data


def span_of(header: str | None, size: int) -> Span | None:
    """What a Range header asks of `size` bytes (RFC 9110, section 14); None when there is no such part.

    A header that is no single range of bytes is ignored, as the RFC allows.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return Span(0, size)
    first, last = match.groups()
    if first and last and int(last) < int(first):
        return Span(0, size)
    begin = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    return Span(begin, end, partial=True) if begin < end else None


async def send_output(call: Call, name: OutputName, begin: int, *, tail: int | None) -> HTTPResponse | None:
    """Send what there is from `begin` on (or the last `tail` bytes), or the part that a Range asks for."""
    known = await read_part(call, name, 0, 0)
    name = replace(name, attempt=known.attempt)
    begin = min(begin, known.size) if tail is None else max(known.size - tail, 0)
    # Without a validator of ours there is nothing that If-Range could name: the whole, then.
    wanted = None if "if-range" in call.request.headers else call.request.headers.get("range")
    span = span_of(wanted, known.size - begin)
    headers = {
        **as_attachment(f"{name.task_id}_{name.phase}_{name.stream}.txt"),
        "Accept-Ranges": "bytes",
        "X-Khala-Attempt": str(known.attempt),
        "X-Khala-Offset": str(begin),
        "X-Khala-Complete": "true" if known.complete else "false",
        "X-Khala-Written": str(known.written or known.size),
    }
    whole = str(known.size - begin) if known.complete else "*"
    if span is None:
        there_are = f"there are {known.size - begin} bytes"
        answer = problem_response(
            call.request, Refusal(there_are, code="range_not_satisfiable", field="Range")
        )
        answer.headers["Content-Range"] = f"bytes */{known.size - begin}"
        return answer
    if span.partial:
        headers["Content-Range"] = f"bytes {span.begin}-{span.end - 1}/{whole}"
    headers["Content-Length"] = str(span.end - span.begin)
    status = 206 if span.partial else 200
    if call.request.method == "HEAD":
        return HTTPResponse(b"", status=status, headers=headers, content_type=BYTES)
    response = await call.request.respond(status=status, headers=headers, content_type=BYTES)
    async for data in parts_of(call, name, begin + span.begin, begin + span.end):
        await response.send(data)
    return None
