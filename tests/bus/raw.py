"""A connection to a bus without a bus: for tests that misbehave."""

from __future__ import annotations

import socket
from typing import Any

from bus.worlds import SECRET

from khala.bus.codec import Codec
from khala.bus.connection import DialledConnection, Opened
from khala.bus.handshake import Identity


class RawPeer:
    """A blocking socket, and a state machine for its hello."""

    def __init__(self, port: int, *, receive_buffer_bytes: int = 0) -> None:
        self.sock = socket.socket()
        if receive_buffer_bytes:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.sock.settimeout(60)
        self.sock.connect(("127.0.0.1", port))

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def greet(self, node: str = "x1", role: str = "executor", secret: bytes | None = SECRET) -> RawPeer:
        """Say hello, and go on only when it was accepted."""
        identity = Identity(node=node, role=role, incarnation="1", secret=secret)
        connection = DialledConnection(Codec(), identity, max_frame_bytes=8 << 20)
        connection.begin()
        events: list[Any] = []
        while not events:
            data = b"".join(connection.outgoing.first(100))
            connection.outgoing.drop(len(data))
            self.sock.sendall(data)
            received = self.sock.recv(65536)
            assert received, "closed before the welcome"
            events = list(connection.receive(received))
        assert isinstance(events[0], Opened), events
        return self

    def send(self, data: bytes) -> RawPeer:
        """Send; a bus that has already closed is no error."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return self
        return self

    def is_closed_by_the_bus(self) -> bool:
        """Read to the end; False when it does not come within the socket's timeout."""
        try:
            while self.sock.recv(65536):
                continue
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True
        return True
