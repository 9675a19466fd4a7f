"""A socket and its connection's state machine, served by the reactor.

Owns the socket: reads into the connection, writes what it wants sent, and closes it, once. Runs in
the reactor's thread only. What to write beyond the connection's own words comes from an outbox: all
that waits when the socket is writable travels in one frame.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from khala.bus.codec import MalformedMessage
from khala.bus.connection import Connection, DialledConnection, Event
from khala.bus.interface import CLIENT, KIB
from khala.bus.outbox import Outbox
from khala.bus.reactor import READ, WRITE, Reactor
from khala.bus.wire import FRAME_OVERHEAD_BYTES, deliver_frame

READ_BYTES = 256 * KIB
BATCH_BYTES = 512 * KIB
ROUNDS = 4
EVENTS = 64
CHUNKS = 64


class Ending(StrEnum):
    """Why a channel was closed, in kinds that are counted."""

    ENDED = "ended"
    MALFORMED = "malformed"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLimits:
    """How long a channel may be what, in seconds, and how much may wait to be written, in bytes."""

    hello_timeout_s: float
    idle_timeout_s: float
    client_idle_timeout_s: float
    keep_alive_s: float
    max_outgoing_bytes: int
    max_frame_bytes: int


class ChannelOwner(Protocol):
    """Who hears of a channel; called in the reactor's thread."""

    def on_event(self, channel: Channel, event: Event) -> None:
        """The connection said something."""
        ...

    def on_closed(self, channel: Channel, reason: str, ending: Ending) -> None:
        """The socket is closed; called once."""
        ...

    def on_sent(self, envelopes: int, expired: int) -> None:
        """Envelopes left the outbox for the socket, or were dropped as expired."""
        ...


class Channel:
    """See the module. `connecting` says that the socket's connect() has not completed yet."""

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        connection: Connection,
        owner: ChannelOwner,
        *,
        id: str,
        limits: ChannelLimits,
        connecting: bool = False,
    ) -> None:
        self.id = id
        self.connection = connection
        self.outbox: Outbox | None = None
        self.closed = False
        self.opened_at = self.heard_at = self.said_at = self.kept_at = time.monotonic()
        self._reactor = reactor
        self._sock = sock
        self._owner = owner
        self._limits = limits
        self._batch_bytes = min(BATCH_BYTES, limits.max_frame_bytes - FRAME_OVERHEAD_BYTES)
        self._connecting = connecting
        self._flushing = False
        self._handling = False
        self._unhandled: Iterator[Event] | None = None
        self._events = WRITE if connecting else READ
        reactor.watch(sock, self._events, self._on_ready)

    def flush(self) -> None:
        """Write as much as the socket takes, and come back when it takes more."""
        if self.closed or self._connecting:
            return
        outgoing = self.connection.outgoing
        try:
            for _ in range(ROUNDS):
                if outgoing.size < self._batch_bytes:
                    self._refill()
                if not outgoing.size:
                    break
                outgoing.drop(self._sock.sendmsg(outgoing.first(CHUNKS)))
                self.said_at = time.monotonic()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self.close(_reason(error))
            return
        if self.connection.closing and not outgoing.size:
            self.close(self.connection.closing)
        elif outgoing.size > self._limits.max_outgoing_bytes:
            self.close("it reads too slowly", Ending.TIMED_OUT)
        else:
            self._watch()

    def flush_soon(self) -> None:
        """Flush after what the reactor does now: answers that come together travel together."""
        if not self._flushing:
            self._flushing = True
            self._reactor.call_soon(self._flush_once)

    def check(self, now: float) -> None:
        """Close what took too long; say that we live. `now` is of time.monotonic()."""
        limits = self._limits
        peer = self.connection.peer
        is_client = peer is not None and peer.role == CLIENT
        idle_s = limits.client_idle_timeout_s if is_client else limits.idle_timeout_s
        if self.closed:
            return
        if peer is None or self.connection.closing:
            if now - self.opened_at > limits.hello_timeout_s:
                self.close(f"no hello within {limits.hello_timeout_s:g} s", Ending.TIMED_OUT)
        elif now - self.heard_at > idle_s:
            self.close(f"silent for {idle_s:g} s", Ending.TIMED_OUT)
        elif self.connection.outgoing.size and now - self.said_at > limits.idle_timeout_s:
            self.close(f"it has read nothing for {limits.idle_timeout_s:g} s", Ending.TIMED_OUT)
        elif (
            not is_client and now - max(self.kept_at, min(self.said_at, self.heard_at)) > limits.keep_alive_s
        ):
            self.kept_at = now
            self.connection.keep_alive()
            self.flush()

    def close(self, reason: str, ending: Ending = Ending.ENDED) -> None:
        """Close the socket and tell the owner; later calls do nothing."""
        if self.closed:
            return
        self.closed = True
        self._reactor.unwatch(self._sock)
        self._sock.close()
        self._owner.on_closed(self, reason, ending)

    def _flush_once(self) -> None:
        self._flushing = False
        self.flush()

    def _on_ready(self, events: int) -> None:
        if self.closed:
            return
        if self._connecting:
            self._connected()
            return
        if events & READ and self._unhandled is None:
            self._read()
        if events & WRITE:
            self.flush()

    def _connected(self) -> None:
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.close(os.strerror(code))
            return
        self._connecting = False
        if isinstance(self.connection, DialledConnection):
            self.connection.begin()
        self.flush()

    def _read(self) -> None:
        try:
            data = self._sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(_reason(error))
            return
        if not data:
            self.close("the other end closed it")
            return
        self.heard_at = time.monotonic()
        self._unhandled = self.connection.receive(data)
        self._handle()

    def _handle(self) -> None:
        """Handle some of what was read, and come back for the rest: others have their turn in between,
        and the answers to some calls are seen, and maybe found too many, before the next is looked at."""
        self._handling = False
        if self._unhandled is None or self.closed or self._is_deaf():
            return
        try:
            for _ in range(EVENTS):
                event = next(self._unhandled, None)
                if event is None:
                    self._unhandled = None
                    break
                self._owner.on_event(self, event)
                if self.closed:
                    return
        except MalformedMessage as error:
            self.close(error.detail, Ending.MALFORMED)
            return
        self.flush()

    def _is_deaf(self) -> bool:
        """Whether this is a client with too many unread answers: it may not ask for more. Nodes are
        always heard, for two of them could so wait for each other."""
        peer = self.connection.peer
        unread = self.connection.outgoing.size
        return unread > self._limits.max_frame_bytes and peer is not None and peer.role == CLIENT

    def _refill(self) -> None:
        if self.outbox is None or self.connection.closing:
            return
        batch, expired = self.outbox.take(self._batch_bytes, time.time())
        if batch:
            self.connection.outgoing.append(deliver_frame(batch))
        if batch or expired:
            self._owner.on_sent(len(batch), expired)

    def _watch(self) -> None:
        waiting = self.outbox is not None and self.outbox.waiting[0] and not self.connection.closing
        deaf = self._is_deaf()
        events = (0 if deaf else READ) | (WRITE if waiting or self.connection.outgoing.size else 0)
        if events != self._events:
            self._events = events
            self._reactor.change(self._sock, events, self._on_ready)
        if self._unhandled is not None and not deaf and not self._handling:
            self._handling = True
            self._reactor.call_soon(self._handle)


def _reason(error: OSError) -> str:
    return error.strerror or repr(error)
