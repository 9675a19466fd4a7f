"""The executor's end of one launcher's socket: buffered both ways, never blocking.

Used under the pool's lock only.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Iterator

from khala.execution.launching.framing import READ_BYTES, FrameReader, Header
from khala.execution.wire import read_header

MAX_FRAME_BYTES = 16 * 1024 * 1024


class SlotLink:
    """Frames to and from one launcher. `wake` is what the selector calls when the socket is ready;
    `waits_to_send` is whether the socket takes no more just now."""

    def __init__(
        self, sock: socket.socket, selector: selectors.BaseSelector, wake: Callable[[], None]
    ) -> None:
        self._sock = sock
        self._selector = selector
        self._wake = wake
        self._unsent = bytearray()
        self.waits_to_send = False
        self._reader = FrameReader(MAX_FRAME_BYTES, read_header)
        self.closed_by_launcher = False
        selector.register(sock, selectors.EVENT_READ, wake)

    def send(self, frame: bytes) -> None:
        """Send now what the socket takes, and the rest when it takes more."""
        self._unsent += frame
        self.flush()

    def flush(self) -> None:
        """Send what is left. A dead launcher is noticed by reading, not here."""
        try:
            while self._unsent:
                del self._unsent[: self._sock.send(memoryview(self._unsent)[: 1 << 20].tobytes())]
        except BlockingIOError:
            self._wait_to_send(True)
            return
        except (BrokenPipeError, ConnectionResetError):
            self._unsent.clear()
        self._wait_to_send(False)

    def frames(self) -> Iterator[tuple[Header, list[bytes]]]:
        """The frames that have arrived; sets `closed_by_launcher` at the end of the stream.

        BadFrame if the launcher does not speak as it should.
        """
        while True:
            try:
                data = self._sock.recv(READ_BYTES)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                self.closed_by_launcher = True
                return
            yield from self._reader.feed(data)
            if len(data) < READ_BYTES:
                # That was all there was; the selector tells of more, and of the end.
                return

    def _wait_to_send(self, waits: bool) -> None:
        if waits != self.waits_to_send:
            self.waits_to_send = waits
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if waits else 0)
            self._selector.modify(self._sock, wanted, self._wake)

    def close(self) -> None:
        """Let go of the launcher: it ends its job, if any, and itself."""
        self._selector.unregister(self._sock)
        self._sock.close()
