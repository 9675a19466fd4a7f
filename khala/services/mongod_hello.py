"""One question in MongoDB's wire protocol, by hand: `hello`, to see whether a mongod serves.

The driver lives in the store only. Message layout: the MongoDB specification, "OP_MSG"; documents:
bsonspec.org 1.1. Any thread; one connection per question.
"""

from __future__ import annotations

import socket
import struct

_OP_MSG = 2013
_HEADER = struct.Struct("<iiii")  # length, request id, response to, opcode
_MOST_BYTES = 1 << 20
_OK = b"\x01ok\x00" + struct.pack("<d", 1.0)


def says_hello(host: str, port: int, timeout_s: float) -> bool:
    """Whether the server at host:port answers `hello` with ok: 1; `timeout_s` bounds each step."""
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.sendall(_question())
            length, _, answered, opcode = _HEADER.unpack(_exactly(connection, _HEADER.size))
            if opcode != _OP_MSG or answered != 1 or not _HEADER.size < length <= _MOST_BYTES:
                return False
            return _OK in _exactly(connection, length - _HEADER.size)
    except OSError:
        return False


def _question() -> bytes:
    elements = b"\x10hello\x00" + struct.pack("<i", 1) + _text("$db", "admin")
    document = struct.pack("<i", len(elements) + 5) + elements + b"\x00"
    body = struct.pack("<I", 0) + b"\x00" + document  # no flags; one section of kind 0
    return _HEADER.pack(_HEADER.size + len(body), 1, 0, _OP_MSG) + body


def _text(name: str, value: str) -> bytes:
    content = value.encode() + b"\x00"
    return b"\x02" + name.encode() + b"\x00" + struct.pack("<i", len(content)) + content


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        piece = connection.recv(count - len(received))
        if not piece:
            raise ConnectionError("closed in the middle of an answer")
        received += piece
    return received
