"""Keeps one connection dialled: resolve, connect, and again with back-off while it is wanted.

Runs in the reactor's thread, but for the look-up of names, which may block and so has a thread of its
own for as long as it takes. The addresses are tried in turn; after a break the next one comes first.
"""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence

from khala.bus.reactor import Reactor, Timer

Address = tuple[socket.AddressFamily, tuple[object, ...]]


class Dialer:
    """Calls `connect(socket)` with a socket whose connect() is under way, and is told by `ended` when
    what became of it is over. `failed(reason)` hears why no socket could be had; `needed()` is asked
    before each attempt. `addresses` gives host:port strings and runs in the look-up's thread.
    """

    def __init__(
        self,
        reactor: Reactor,
        addresses: Callable[[], Sequence[str]],
        *,
        needed: Callable[[], bool],
        connect: Callable[[socket.socket], object],
        failed: Callable[[str], object],
        rng: random.Random,
        min_s: float,
        max_s: float,
    ) -> None:
        self._reactor = reactor
        self._addresses = addresses
        self._needed = needed
        self._connect = connect
        self._failed = failed
        self._rng = rng
        self._min_s = min_s
        self._max_s = max_s
        self._wait_s = min_s
        self._turn = 0
        self._connected_at: float | None = None
        self._busy = False
        self._stopped = False
        self._timer: Timer | None = None

    def dial(self) -> None:
        """Dial now, unless that is under way or not needed."""
        if self._busy or self._stopped or not self._needed():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._busy = True
        threading.Thread(target=self._look_up, name="khala-lookup", daemon=True).start()

    def stop(self) -> None:
        """Dial no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def opened(self) -> None:
        """The hello succeeded."""
        self._connected_at = time.monotonic()

    def ended(self) -> None:
        """The connection, or the attempt, is over: dial again after a while.

        Only a connection that lasted resets the back-off, so that two that displace each other slow down.
        """
        lasted = self._connected_at is not None and time.monotonic() - self._connected_at > self._max_s
        self._connected_at = None
        self._busy = False
        self._turn += 1
        if self._stopped:
            return
        if lasted:
            self._wait_s = self._min_s
        delay_s = self._wait_s * self._rng.uniform(0.5, 1.0)
        self._wait_s = min(self._wait_s * 2, self._max_s)
        self._timer = self._reactor.call_later(delay_s, self.dial)

    def _look_up(self) -> None:
        try:
            found = [address for text in self._addresses() for address in resolve(text)]
            problem = "no address is known"
        except Exception as error:  # noqa: BLE001 - `addresses` is not ours; `failed` tells it
            found = []
            problem = str(error) or repr(error)
        self._reactor.call_soon(lambda: self._looked_up(found, problem))

    def _looked_up(self, found: Sequence[Address], problem: str) -> None:
        if self._stopped:
            return
        if not found:
            self._failed(problem)
            self.ended()
            return
        try:
            sock = begin_connect(found[self._turn % len(found)])
        except OSError as error:
            self._failed(error.strerror or str(error))
            self.ended()
            return
        self._connect(sock)


def begin_connect(target: Address) -> socket.socket:
    """A socket whose connect() is under way. OSError when it failed at once."""
    family, address = target
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
    except OSError:
        sock.close()
        raise
    return sock


def resolve(text: str) -> list[Address]:
    """The socket addresses of `host:port` or `[v6]:port`. Blocks; OSError when there are none."""
    host, port = split_host_port(text)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _type, _protocol, _name, address in found]


def split_host_port(text: str) -> tuple[str, int]:
    """Host and port of `host:port`. OSError when it is not such a text."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise OSError(f"{text!r} is not host:port")
    return host.strip("[]"), int(port)
