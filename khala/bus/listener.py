"""The listening socket, and how many may knock at once. Runs in the reactor's thread.

Who has not said hello yet is counted apart: when too many wait, the oldest gives way, so that idle
connections cannot keep a node's peers out.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from khala.bus.channel import Channel
from khala.bus.reactor import READ, Reactor, Timer
from khala.errors import ConfigurationError

BACKLOG = 512
ACCEPTS = 64
PAUSE_S = 0.2


def open_listener(host: str, port: int) -> socket.socket:
    """A listening socket. ConfigurationError when the address cannot be had."""
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error}; choose another address"
        ) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another port or end what has it"
        ) from error
    return sock


class Listener:
    """Accepts connections and makes room among those that have not said hello.

    `accepted(socket)` makes a channel of each, `refused()` counts each that found no room and
    `has_room()` says whether the node has any at all.
    """

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        *,
        max_unauthenticated: int,
        has_room: Callable[[], bool],
        accepted: Callable[[socket.socket], Channel],
        refused: Callable[[], object],
    ) -> None:
        self.port: int = sock.getsockname()[1]
        self.strangers: dict[str, Channel] = {}
        self._reactor = reactor
        self._sock = sock
        self._max_unauthenticated = max_unauthenticated
        self._has_room = has_room
        self._accepted = accepted
        self._refused = refused
        self._closed = False
        self._paused: Timer | None = None

    def begin(self) -> None:
        """Accept from now on."""
        self._paused = None
        if not self._closed:
            self._reactor.watch(self._sock, READ, self._on_ready)

    def close(self) -> None:
        """Accept no more."""
        if self._closed:
            return
        self._closed = True
        if self._paused is None:
            self._reactor.unwatch(self._sock)
        else:
            self._paused.cancel()
        self._sock.close()

    def forget(self, channel: Channel) -> None:
        """The channel said hello, or is closed."""
        self.strangers.pop(channel.id, None)

    def _on_ready(self, _events: int) -> None:
        for _ in range(ACCEPTS):
            try:
                sock, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # out of file descriptors: the next try would fail as well, at full speed
                self._refused()
                self._reactor.unwatch(self._sock)
                self._paused = self._reactor.call_later(PAUSE_S, self.begin)
                return
            self._admit(sock)

    def _admit(self, sock: socket.socket) -> None:
        if not self._has_room():
            self._refused()
            sock.close()
            return
        if len(self.strangers) >= self._max_unauthenticated:
            self._refused()
            next(iter(self.strangers.values())).close("too many connections without a hello")
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = self._accepted(sock)
        self.strangers[channel.id] = channel
