"""The frames between executor and launcher: a JSON header and raw bytes, both ways, data only.

A frame is two big-endian uint32 (length of the header, total length of the blobs), the header, the
blobs. The header's key "blobs" lists the blobs' lengths; other values refer to them by index.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

READ_BYTES = 1 << 16
"""What either end reads at once: below what malloc(3) maps and unmaps each time."""
LENGTHS = struct.Struct(">II")
Header = dict[str, Any]
_to_json = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode
_from_json = json.JSONDecoder().raw_decode


def _dumps(header: Header) -> bytes:
    return _to_json(header).encode()


def _loads(header: bytes) -> Any:
    """As `json.loads`, whose functions around this one call take longer than it does."""
    text = header.decode()
    value, end = _from_json(text)
    if end != len(text):
        raise ValueError(f"more than JSON, from {end} on")
    return value


class BadFrame(Exception):
    """The other end does not speak this format; nothing more from it can be trusted."""


def encode(
    header: Header, blobs: Sequence[bytes] = (), *, dumps: Callable[[Header], bytes] = _dumps
) -> bytes:
    """One frame. `header` must hold JSON values only."""
    text = dumps({**header, "blobs": [len(blob) for blob in blobs]})
    body = b"".join(blobs)
    return b"".join((LENGTHS.pack(len(text), len(body)), text, body))


class FrameReader:
    """Cuts a byte stream into frames; one of more than `max_bytes` raises BadFrame. `loads` reads a header,
    and raises ValueError if it cannot."""

    def __init__(self, max_bytes: int, loads: Callable[[bytes], Any] = _loads) -> None:
        self._max_bytes = max_bytes
        self._loads = loads
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Header, list[bytes]]]:
        """Take received bytes; yield each frame that is now complete."""
        self._pending += data
        while len(self._pending) >= LENGTHS.size:
            header_size, body_size = LENGTHS.unpack_from(self._pending)
            end = LENGTHS.size + header_size + body_size
            if end > self._max_bytes:
                raise BadFrame(f"a frame of {end} bytes; at most {self._max_bytes} are allowed")
            if len(self._pending) < end:
                return
            frame = bytes(self._pending[:end])
            del self._pending[:end]
            yield self._parse(frame, header_size)

    def _parse(self, frame: bytes, header_size: int) -> tuple[Header, list[bytes]]:
        start = LENGTHS.size + header_size
        try:
            header = self._loads(frame[LENGTHS.size : start])
            sizes = [int(size) for size in header.pop("blobs")]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadFrame(f"an unreadable frame header: {error}") from error
        if sum(sizes) != len(frame) - start:
            raise BadFrame("a frame whose blobs do not add up")
        blobs = []
        for size in sizes:
            blobs.append(frame[start : start + size])
            start += size
        return header, blobs
