"""Frames and message headers: pure functions over bytes, and the two byte queues of a connection.

A frame is four bytes of length, big-endian, then one Thrift message in the strict binary protocol:
version and type, the method's name, a sequence number, and a struct (the arguments or the result).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from thrift.Thrift import TMessageType, TType

from khala.bus.codec import MalformedMessage

CALL: int = TMessageType.CALL
REPLY: int = TMessageType.REPLY
EXCEPTION: int = TMessageType.EXCEPTION
ONEWAY: int = TMessageType.ONEWAY

FRAME_OVERHEAD_BYTES = 64
MAX_METHOD_BYTES = 64

_LENGTH = struct.Struct("!I")
_HEAD = struct.Struct("!III")
_SEQUENCE = struct.Struct("!i")
_VERSION = 0x80010000
_VERSION_MASK = 0xFFFF0000
_DELIVER_LIST = struct.Struct("!bhbI")


@dataclass(frozen=True, slots=True)
class Message:
    """One Thrift message in its frame; the struct begins at `offset` of `data`."""

    type: int
    name: str
    sequence: int
    data: bytes
    offset: int


def frame(kind: int, name: str, sequence: int, body: bytes) -> bytes:
    """A whole frame around `body`, an encoded struct."""
    return b"".join(_frame_parts(kind, name, sequence, (body,), len(body)))


def deliver_frame(envelopes: Sequence[bytes]) -> bytes:
    """A frame that calls `deliver` with encoded envelopes: the list is its first and only field."""
    head = _DELIVER_LIST.pack(TType.LIST, 1, TType.STRUCT, len(envelopes))
    size = len(head) + sum(map(len, envelopes)) + 1
    return b"".join(_frame_parts(ONEWAY, "deliver", 0, (head, *envelopes, b"\0"), size))


def _frame_parts(kind: int, name: str, sequence: int, body: Sequence[bytes], size: int) -> Iterator[bytes]:
    method = name.encode()
    yield _HEAD.pack(8 + len(method) + 4 + size, _VERSION | kind, len(method))
    yield method
    yield _SEQUENCE.pack(sequence)
    yield from body


def parse(data: bytes) -> Message:
    """The header of the message in a frame. MalformedMessage when it has none."""
    try:
        version, length = struct.unpack_from("!II", data)
        if version & _VERSION_MASK != _VERSION:
            raise MalformedMessage("not a message of Thrift's strict binary protocol")
        if length > MAX_METHOD_BYTES:
            raise MalformedMessage(f"a method name of {length} bytes")
        name = data[8 : 8 + length].decode("ascii")
        (sequence,) = _SEQUENCE.unpack_from(data, 8 + length)
    except (struct.error, UnicodeDecodeError) as error:
        raise MalformedMessage(f"a broken message header: {error}") from error
    return Message(version & 0xFF, name, sequence, data, 12 + length)


class FrameReader:
    """Cuts a stream of bytes into frames. Holds at most one unfinished frame of `limit_bytes`.

    A length above the limit raises before a byte of that frame is kept.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> None:
        """Add what was received."""
        self._buffer += data

    def frames(self) -> Iterator[bytes]:
        """The frames that are complete, without their length; the limit may change in between."""
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > self.limit_bytes:
                self._buffer.clear()
                raise MalformedMessage(f"a frame of {length} bytes, over the limit of {self.limit_bytes}")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            with memoryview(self._buffer) as view:
                data = view[_LENGTH.size : end].tobytes()
            del self._buffer[:end]
            yield data


class OutgoingBytes:
    """What is to be written to one socket, in order. `size` is the number of bytes."""

    def __init__(self) -> None:
        self.size = 0
        self._chunks: deque[bytes | memoryview] = deque()

    def append(self, data: bytes) -> None:
        """Add to the end."""
        self._chunks.append(data)
        self.size += len(data)

    def first(self, count: int) -> list[bytes | memoryview]:
        """At most `count` chunks from the front, for sendmsg."""
        return list(islice(self._chunks, count))

    def drop(self, sent_bytes: int) -> None:
        """Forget that many bytes from the front: they were sent."""
        self.size -= sent_bytes
        while sent_bytes:
            chunk = self._chunks.popleft()
            if len(chunk) > sent_bytes:
                self._chunks.appendleft(memoryview(chunk)[sent_bytes:])
                return
            sent_bytes -= len(chunk)
