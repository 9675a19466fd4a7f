"""An output stream as server-sent events, while it grows: `output` events and one `end`.

Runs on the event loop. More is asked for only when what was sent has left for the client: a slow
reader holds one part, and its task never knows. Parts begin small and grow with what the reader has taken,
so that whoever comes and goes costs little. An event's id is the offset behind it, from where a
reader goes on after a break; when the reader did not name an attempt, the id does: `OFFSET@ATTEMPT`.
"""

from __future__ import annotations

import asyncio
import base64
import codecs
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace

from khala.core.task import TERMINAL
from khala.core.transfers import OutputPart
from khala.errors import Refusal
from khala.gateway.exchange import Call
from khala.gateway.outputs import OutputName, read_part
from khala.gateway.sse import BUFFER_BYTES, IDLE_S, REMARK, arrival, buffer_at_most, event, send_events

SOONEST_S = 0.5
FIRST_PART_BYTES = 32 * 1024
PART_BYTES = 128 * 1024
TAKEN_PER_PART = 8
"""A part is at most so many-th of what the reader has taken: more than fits between it and us."""
BUFFERED_PARTS = 4
LONGEST_CHARACTER = 4
_ID = re.compile(r"(\d{1,15})(?:@(\d{1,9}))?")


def resume_at(last_event_id: str, name: OutputName, offset: int) -> tuple[OutputName, int]:
    """Where the reader of this `Last-Event-ID` goes on; Refusal if it is none of ours."""
    if not last_event_id:
        return name, offset
    match = _ID.fullmatch(last_event_id)
    if match is None:
        raise Refusal(
            "Last-Event-ID: not one that this gateway gave", code="malformed", field="Last-Event-ID"
        )
    attempt = name.attempt or int(match[2] or 0)
    return replace(name, attempt=attempt), int(match[1])


async def follow(call: Call, name: OutputName, offset: int, *, tail: int | None) -> None:
    """Send events until the attempt is over; what fails before the first one is an ordinary answer."""
    named = bool(name.attempt)
    async with arrival(call):
        if tail is not None:
            known = await read_part(call, name, 0, 0)
            name, offset = replace(name, attempt=known.attempt), max(known.size - tail, 0)
        first = await read_part(call, name, offset, FIRST_PART_BYTES)
    await send_events(call, _events(call, name, first, named=named))


async def _events(call: Call, name: OutputName, part: OutputPart, *, named: bool) -> AsyncIterator[bytes]:
    """`part` and all after it."""
    held, begin, room = b"", part.offset, FIRST_PART_BYTES
    offset, asked_at = begin, float("-inf")
    while True:
        name = replace(name, attempt=part.attempt)
        over = part.complete and part.offset + len(part.data) >= part.size
        data, held = _whole_characters(held + part.data, over=over)
        events = _output_events(data, part.attempt, offset, named=named)
        offset += len(data)
        if over:
            events.append(event("end", _end(part)))
        # While a slow reader takes an event, nothing else is held for it.
        silent, part, data = not part.data, replace(part, data=b""), b""
        while events:
            yield events.pop(0)
        if over:
            return
        if silent:
            # Answered at once without news: the judicator has too many who wait.
            await asyncio.sleep(max(0.0, asked_at + SOONEST_S - time.monotonic()))
            yield REMARK
        if room < PART_BYTES and offset - begin >= room * TAKEN_PER_PART:
            room *= 2
            buffer_at_most(call, max(room * BUFFERED_PARTS, BUFFER_BYTES))
        asked_at = time.monotonic()
        part = await read_part(call, name, offset + len(held), room, wait_s=IDLE_S)


def _output_events(data: bytes, attempt: int, offset: int, *, named: bool) -> list[bytes]:
    """The bytes from `offset` on as events, whose ids are the offsets behind them."""
    events = []
    for shown, length in _shown(data):
        body = {"attempt": attempt, "offset": offset, **shown}
        offset += length
        events.append(event("output", body, id=str(offset) if named else f"{offset}@{attempt}"))
    return events


def _whole_characters(data: bytes, *, over: bool) -> tuple[bytes, bytes]:
    """`data` up to its last whole character, and the rest, which is empty when there is no more to come."""
    if over:
        return data, b""
    for length in range(1, min(LONGEST_CHARACTER, len(data) + 1)):
        tail = data[-length:]
        if tail[0] >= 0xC0:
            try:
                used = codecs.utf_8_decode(tail, "strict", False)[1]
            except UnicodeDecodeError:
                break
            return (data, b"") if used else (data[:-length], tail)
    return data, b""


def _shown(data: bytes) -> list[tuple[dict[str, str], int]]:
    """The bytes as text, or as base64 from where they are no text; each with its length."""
    if not data:
        return []
    try:
        return [({"text": data.decode()}, len(data))]
    except UnicodeDecodeError as error:
        text, rest = data[: error.start], data[error.start :]
    shown: list[tuple[dict[str, str], int]] = [({"text": text.decode()}, len(text))] if text else []
    return [*shown, ({"base64": base64.b64encode(rest).decode()}, len(rest))]


def _end(part: OutputPart) -> dict[str, object]:
    lost = part.attempt < part.newest or part.state not in TERMINAL
    return {
        "attempt": part.attempt,
        "state": part.state,
        "size": part.size,
        "written": part.written or part.size,
        "lost": lost,
        "next_attempt": part.attempt + 1 if lost else None,
    }
