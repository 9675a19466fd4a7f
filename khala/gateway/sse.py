"""Server-sent events: an answer that goes on until all is told, its reader leaves, or the server stops.

Runs on the event loop. The next event is asked for only when the one before it has left for the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import orjson

from khala.errors import Unavailable
from khala.gateway.exchange import Call

CONTENT_TYPE = "text/event-stream; charset=utf-8"
IDLE_S = 15.0
REMARK = b":\n\n"
BUFFER_BYTES = 8 * 1024
"""What the kernel may keep for a reader that has not proved to take more, which may double this; and we."""
ARRIVALS_AT_ONCE = 4
"""How many of one worker's followers may be asking for their first event: the others of a crowd wait, so that
whoever asks for something else does not wait for all of them."""
ARRIVAL_S = 10.0
BEAT_S = 7.0
"""A browser shows a page no remark, but this event; the site counts on one in 20 s (`live.js`)."""
BEAT = b"event: beat\ndata: {}\n\n"


@contextlib.asynccontextmanager
async def arrival(call: Call) -> AsyncIterator[None]:
    """Our turn to ask for a first event. Raises Unavailable when it does not come in time."""
    arrivals = call.request.app.ctx.arrivals
    try:
        async with asyncio.timeout(ARRIVAL_S):
            await arrivals.acquire()
    except TimeoutError as error:
        raise Unavailable("too many begin to follow something at once", retry_after_s=2.0) from error
    try:
        yield
    finally:
        arrivals.release()


async def send_events(call: Call, events: AsyncIterator[bytes]) -> None:
    """Answer with `events`; the server cancels it when it stops, and its reader goes on elsewhere."""
    response = await call.request.respond(
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}, content_type=CONTENT_TYPE
    )
    followers, me = call.request.app.ctx.followers, asyncio.current_task()
    followers.add(me)
    buffer_at_most(call, BUFFER_BYTES)
    transport: Any = call.request.transport
    try:
        await response.send(b"retry: 1000\n\n")
        async for event in events:
            await response.send(event)
            if transport.get_write_buffer_size() > BUFFER_BYTES:
                # Waits until the reader has taken more, before what comes next is looked for.
                await response.send(REMARK)
    finally:
        followers.discard(me)
    await response.eof()


def buffer_at_most(call: Call, size: int) -> None:
    """Let the kernel keep about `size` bytes for this reader, instead of the megabytes it would grow to, and
    ask for no more while as much waits here."""
    transport: Any = call.request.transport
    transport.set_write_buffer_limits(high=size)
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the reader has gone
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


async def send_with_beats(call: Call, events: AsyncIterator[bytes]) -> None:
    """As `send_events`, with an event that says only that the gateway lives when there is no other."""
    async with contextlib.aclosing(_with_beats(events)) as beating:
        await send_events(call, beating)


async def _with_beats(events: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """`events`, and a beat whenever none came for `BEAT_S`, whatever they wait for."""
    coming = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=BEAT_S)
            said = coming.result() if done else BEAT
            if said is None:
                return
            yield said
            if done:
                coming = asyncio.ensure_future(anext(events, None))
    finally:
        coming.cancel()


def event(kind: str, data: object, *, id: str = "") -> bytes:
    """One event, on the wire."""
    head = f"id: {id}\nevent: {kind}" if id else f"event: {kind}"
    return b"%b\ndata: %b\n\n" % (head.encode(), orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS))
