"""Reading an attempt's output over HTTP, and going on by offset when the connection breaks.

The gateway sends server-sent events whose id says where to go on. Written once, for both clients.
"""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from khala.client.transport import Transport
from khala.client.views import OutputEnd, OutputPiece
from khala.errors import Fault, Unavailable

SILENT_S = 45.0
"""Three times as long as a gateway is silent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputName:
    """One stream of one attempt; attempt 0 is the newest."""

    task_id: str
    phase: str
    stream: str
    attempt: int

    @property
    def path(self) -> str:
        """Its address."""
        return f"/api/v1/tasks/{self.task_id}/logs/{self.phase}/{self.stream}"


async def follow(
    transport: Transport, name: OutputName, offset: int
) -> AsyncGenerator[OutputPiece | OutputEnd, None]:
    """Pieces without a gap, then the end."""
    query = {"follow": "1", "offset": str(offset)}
    if name.attempt:
        query["attempt"] = str(name.attempt)
    patience, last = transport.patience(), ""
    while True:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        try:
            async with transport.opened(name.path, query=query, headers=headers, silent_s=SILENT_S) as answer:
                async for id, data in events(answer.pieces):
                    last = id or last
                    patience.came_on(time.monotonic())
                    said = _said(data)
                    yield said
                    if isinstance(said, OutputEnd):
                        return
            raise Unavailable("the gateway ended the stream before the end of the output", retry_after_s=0.0)
        except Unavailable as failure:
            await transport.pause(patience, failure)


async def read(transport: Transport, name: OutputName, tail: int) -> AsyncGenerator[OutputPiece, None]:
    """The bytes that there are now, or the last `tail` of them unless that is negative."""
    query = {"attempt": str(name.attempt)} if name.attempt else {}
    query |= {"tail": str(tail)} if tail >= 0 else {}
    headers: dict[str, str] = {}
    patience, attempt, offset, end = transport.patience(), 0, 0, -1
    while end < 0 or offset < end:
        try:
            async with transport.opened(name.path, query=query, headers=headers, silent_s=SILENT_S) as answer:
                if end < 0:
                    attempt, offset = (
                        int(answer.headers[f"x-khala-{part}"]) for part in ("attempt", "offset")
                    )
                    end = offset + int(answer.headers["content-length"])
                async for data in answer.pieces:
                    yield OutputPiece(attempt=attempt, offset=offset, data=data)
                    offset += len(data)
                    patience.came_on(time.monotonic())
        except Unavailable as failure:
            await transport.pause(patience, failure)
        if end >= 0:
            # Of the same attempt, to the same end, whatever has come meanwhile.
            query, headers = {"attempt": str(attempt)}, {"Range": f"bytes={offset}-{end - 1}"}


async def events(pieces: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    """(id, data) of each whole server-sent event; comments and other fields are passed over."""
    id, data, rest = "", b"", b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            field, _, value = line.partition(b": ")
            if field == b"id":
                id = value.decode()
            elif field == b"data":
                data = value
            elif not line and data:
                yield id, orjson.loads(data)
                id, data = "", b""


def _said(data: Mapping[str, Any]) -> OutputPiece | OutputEnd:
    if "state" in data:
        return OutputEnd(
            attempt=data["attempt"],
            state=data["state"],
            size=data["size"],
            written=data["written"],
            next_attempt=data["next_attempt"] or 0,
        )
    if "text" not in data and "base64" not in data:
        raise Fault("the gateway sent an event that is neither output nor its end")
    content = base64.b64decode(data["base64"]) if "base64" in data else data["text"].encode()
    return OutputPiece(attempt=data["attempt"], offset=data["offset"], data=content)
