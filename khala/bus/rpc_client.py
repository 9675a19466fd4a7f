"""Calls a judicator's public RPC, many at a time over one connection.

Owns a reactor of its own (one thread), a dialer over all known judicators, and the calls that wait. A
call's future is completed in the reactor's thread: what is attached to it must not block.
"""

from __future__ import annotations

import itertools
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog

from khala.bus.calls import Call, Calls
from khala.bus.channel import Channel, ChannelLimits, Ending
from khala.bus.codec import Codec, MalformedMessage
from khala.bus.connection import Answered, DialledConnection, Event, HelloRefused, Opened
from khala.bus.dialer import Dialer
from khala.bus.envelope import check_node_name
from khala.bus.handshake import Identity
from khala.bus.interface import CLIENT, MIB
from khala.bus.reactor import Reactor
from khala.bus.wire import EXCEPTION, FRAME_OVERHEAD_BYTES, Message
from khala.core.commands import NotAvailable, Refused
from khala.errors import ConfigurationError, Fault, KhalaError, OutcomeUnknown, Refusal, Unavailable

TICK_S = 0.1
STOP_TIMEOUT_S = 5.0
OUTGOING_FRAMES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcSettings:
    """Who calls. Durations in seconds, sizes in bytes.

    `connect_timeout_s` is how long a call waits for a connection; `in_flight` and `in_flight_bytes`
    bound the calls that have no answer yet. The role stays `client`: a connection of any other role
    would take the place of that node's own bus.
    """

    node: str
    incarnation: str
    role: str = CLIENT
    cluster_id: str = ""
    secret: bytes | None = None
    max_frame_bytes: int = 8 * MIB
    connect_timeout_s: float = 3.0
    hello_timeout_s: float = 5.0
    idle_timeout_s: float = 8.0
    keep_alive_s: float = 2.0
    reconnect_min_s: float = 0.05
    reconnect_max_s: float = 2.0
    in_flight: int = 10_000
    in_flight_bytes: int = 64 * MIB

    def __post_init__(self) -> None:
        check_node_name(self.node)
        if self.role != CLIENT:
            raise ConfigurationError(f"an RPC client's role is {CLIENT!r}, not {self.role!r}: leave it out")


class RpcClient:
    """See the module. `addresses` gives the judicators' host:port strings; it runs in a thread of its
    own and may block. Thread-safe."""

    def __init__(
        self,
        settings: RpcSettings,
        addresses: Callable[[], Sequence[str]],
        *,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._codec = Codec(max_frame_bytes=settings.max_frame_bytes)
        self._log = structlog.get_logger("khala.bus").bind(node=settings.node)
        self._calls = Calls(max_calls=settings.in_flight, max_bytes=settings.in_flight_bytes)
        self._identity = Identity(
            node=settings.node,
            role=settings.role,
            incarnation=settings.incarnation,
            cluster_id=settings.cluster_id,
            secret=settings.secret,
        )
        self._limits = ChannelLimits(
            hello_timeout_s=settings.hello_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
            client_idle_timeout_s=settings.idle_timeout_s,
            keep_alive_s=settings.keep_alive_s,
            max_outgoing_bytes=settings.in_flight_bytes + OUTGOING_FRAMES * settings.max_frame_bytes,
            max_frame_bytes=settings.max_frame_bytes,
        )
        self._reactor = Reactor(f"khala-rpc-{settings.node}", on_error=lambda: None)
        self._dialer = Dialer(
            self._reactor,
            addresses,
            needed=lambda: self._channel is None,
            connect=self._connect,
            failed=self._note_failure,
            rng=rng or random.Random(),
            min_s=settings.reconnect_min_s,
            max_s=settings.reconnect_max_s,
        )
        self._current: Channel | None = None
        self._channel: Channel | None = None
        self._connection: DialledConnection | None = None
        self._channel_ids = itertools.count(1)
        self._failure = "no connection yet"
        self._started = False
        self._ending = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Connect, and stay connected."""
        self._started = True
        self._reactor.start()
        self._reactor.call_soon(self._dialer.dial)
        self._reactor.call_soon(self._tick)

    def close(self) -> None:
        """End the connection; what has no answer yet fails."""
        with self._ending:
            if self._closed:
                return
            self._closed = True
        if self._started:
            self._reactor.call_soon(self._end)
            self._reactor.join(STOP_TIMEOUT_S)
        else:
            self._reactor.stop(0.0)

    def call(self, command: object, *, timeout_s: float = 10.0) -> Future[Any]:
        """Call a judicator; the future gives the reply dataclass of `command` (khala.core.commands).

        It raises Refusal when the judicator refuses or the command cannot travel, Unavailable when
        nothing was done (no connection within `connect_timeout_s`, too many calls, not now), and
        OutcomeUnknown when the connection broke or `timeout_s` passed after the call was sent.
        """
        method = self._codec.method_of.get(type(command))
        if method is None:
            raise Fault(f"{type(command).__name__} is not a command of the public RPC")
        now = time.monotonic()
        call = Call(
            method=method,
            argument=b"",
            timeout_s=timeout_s,
            give_up_at=now + timeout_s,
            connect_by=now + self._settings.connect_timeout_s,
        )
        call.future.set_running_or_notify_cancel()
        try:
            call.argument = self._codec.encode_argument(method, command)
            if len(call.argument) + FRAME_OVERHEAD_BYTES > self._settings.max_frame_bytes:
                raise Refusal(
                    f"{len(call.argument)} bytes are more than one call can carry "
                    f"({self._settings.max_frame_bytes}): send less at a time, and files by their id",
                    code="too_large",
                )
            with self._ending:
                if self._closed or not self._started:
                    raise Unavailable("this client is not started, or closed")
                self._calls.admit(call)
                self._reactor.call_soon(lambda: self._submit(call))
        except KhalaError as error:
            call.future.set_exception(error)
        return call.future

    # --- what the channel says (ChannelOwner), in the reactor's thread --------------------------

    def on_event(self, channel: Channel, event: Event) -> None:
        match event:
            case Answered():
                self._handle_answered(event.message)
            case Opened() if isinstance(channel.connection, DialledConnection):
                self._channel, self._connection = channel, channel.connection
                self._dialer.opened()
                while self._calls.waiting:
                    self._launch(self._calls.waiting.popleft())
                channel.flush_soon()
            case HelloRefused():
                self._log.warning("hello refused", reason=event.detail)
            case _:
                channel.close("it sent envelopes to a client", Ending.MALFORMED)

    def on_sent(self, envelopes: int, expired: int) -> None:
        """Clients have no outbox."""

    def on_closed(self, channel: Channel, reason: str, ending: Ending) -> None:
        self._note_failure(reason)
        if self._channel is channel:
            self._channel = self._connection = None
            lost, self._calls.in_flight = self._calls.in_flight, {}
            for call in lost.values():
                detail = f"the connection broke before the answer ({reason}): read back before trying again"
                self._calls.finish(call, OutcomeUnknown(detail))
        self._dialer.ended()

    # --- the rest, in the reactor's thread -----------------------------------------------------------

    def _connect(self, sock: socket.socket) -> None:
        connection = DialledConnection(
            self._codec, self._identity, max_frame_bytes=self._settings.max_frame_bytes
        )
        self._current = Channel(
            self._reactor,
            sock,
            connection,
            self,
            id=str(next(self._channel_ids)),
            limits=self._limits,
            connecting=True,
        )

    def _submit(self, call: Call) -> None:
        if self._channel is None:
            self._calls.waiting.append(call)
        else:
            self._launch(call)
            self._channel.flush_soon()

    def _launch(self, call: Call) -> None:
        assert self._connection is not None
        self._connection.call(call.method, self._calls.launch(call), call.argument)

    def _handle_answered(self, message: Message) -> None:
        call = self._calls.land(message.sequence)
        if call is None:
            return  # a sign of life, or the answer to a call that was given up
        try:
            answer = self._answer(call, message)
        except MalformedMessage as error:
            self._calls.finish(call, OutcomeUnknown(f"the answer cannot be read: {error.detail}"))
            raise
        self._calls.finish(call, answer)

    def _answer(self, call: Call, message: Message) -> object:
        if message.name != call.method.name:
            raise MalformedMessage(f"the answer to {message.name} for a call of {call.method.name}")
        if message.type == EXCEPTION:
            failure = self._codec.decode_failure(message.data, message.offset)
            return Fault(f"{call.method.name} failed at the judicator: {failure.message}")
        answer = self._codec.decode_result(call.method, message.data, message.offset)
        if isinstance(answer, Refused):
            return Refusal(answer.detail, code=answer.code, field=answer.field)
        if isinstance(answer, NotAvailable):
            kind = OutcomeUnknown if answer.outcome_unknown else Unavailable
            return kind(answer.detail, retry_after_s=answer.retry_after_s)
        return answer

    def _note_failure(self, reason: str) -> None:
        self._failure = reason

    def _tick(self) -> None:
        if self._current is not None:
            self._current.check(time.monotonic())
        for call, sent in self._calls.overdue(time.monotonic()):
            if sent:
                detail = f"no answer within {call.timeout_s:g} s: read back before trying again"
                self._calls.finish(call, OutcomeUnknown(detail))
            else:
                self._calls.finish(call, Unavailable(f"no judicator can be reached: {self._failure}"))
        self._reactor.call_later(TICK_S, self._tick)

    def _end(self) -> None:
        self._dialer.stop()
        if self._current is not None:
            self._current.close("this client closes")
        while self._calls.waiting:
            self._calls.finish(self._calls.waiting.popleft(), Unavailable("this client is closed"))
        self._reactor.stop(STOP_TIMEOUT_S)
