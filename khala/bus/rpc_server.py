"""The public RPC as envelopes: a call goes to the local actor `judicator`, its reply back to the caller.

The call's envelope has the sender `rpc/<role>/<node>/<connection>/<sequence>/<method>`; whoever replies
to that address, from any thread and in any order, answers the call. Calls in flight are bounded in
number and in time. Runs in the reactor's thread, but for `reply`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from khala.bus.channel import Channel
from khala.bus.codec import ApplicationFailure, Codec, Method
from khala.bus.connection import INTERNAL_ERROR, AcceptedConnection, Called
from khala.bus.counters import Counters
from khala.bus.envelope import RPC, Envelope, EnvelopeIds
from khala.bus.interface import Peer
from khala.bus.reactor import Reactor
from khala.bus.wire import FRAME_OVERHEAD_BYTES
from khala.core.commands import NotAvailable, Refused
from khala.errors import Refusal

ACTOR = "judicator"
BAD_SEQUENCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Caller:
    """A connection that may call, and its calls in flight: sequence number to method and start."""

    channel: Channel
    connection: AcceptedConnection
    peer: Peer
    calls: OrderedDict[int, tuple[Method, float]] = field(default_factory=OrderedDict)


class RpcServer:
    """Turns calls into envelopes and replies into answers.

    `deliver(envelope)` hands an envelope to a local actor and says whether it could.
    """

    def __init__(
        self,
        reactor: Reactor,
        codec: Codec,
        counters: Counters,
        ids: EnvelopeIds,
        *,
        node: str,
        deliver: Callable[[Envelope], bool],
        max_in_flight: int,
        max_frame_bytes: int,
        max_unread_bytes: int,
        timeout_s: float,
    ) -> None:
        self._reactor = reactor
        self._codec = codec
        self._counters = counters
        self._ids = ids
        self._node = node
        self._deliver = deliver
        self._max_in_flight = max_in_flight
        self._max_frame_bytes = max_frame_bytes
        self._max_unread_bytes = max_unread_bytes
        self._timeout_s = timeout_s
        self._callers: dict[str, _Caller] = {}

    @property
    def in_flight(self) -> int:
        """Calls that wait for their answer."""
        return sum(len(caller.calls) for caller in tuple(self._callers.values()))

    def add(self, channel: Channel, connection: AcceptedConnection, peer: Peer) -> None:
        """A connection that was accepted said hello; it may call."""
        self._callers[channel.id] = _Caller(channel=channel, connection=connection, peer=peer)

    def remove(self, channel: Channel) -> None:
        """A connection is closed; answers to its calls have nowhere to go."""
        self._callers.pop(channel.id, None)

    def handle_called(self, channel: Channel, called: Called) -> None:
        """Hand a call to the actor, or answer at once why not."""
        caller = self._callers[channel.id]
        sequence, method = called.sequence, called.method
        if sequence in caller.calls:
            detail = f"a call with sequence {sequence} is still in flight"
            caller.connection.fail(
                method.name, sequence, ApplicationFailure(message=detail, type=BAD_SEQUENCE)
            )
            return
        if len(caller.calls) >= self._max_in_flight:
            self._counters.add("rpc_refused")
            detail = f"{self._max_in_flight} calls are in flight on this connection"
            self._answer(caller, method, sequence, NotAvailable(detail=detail))
            return
        self._counters.add("rpc_calls")
        caller.calls[sequence] = (method, time.monotonic())
        peer = caller.peer
        envelope = Envelope(
            id=self._ids.next(),
            sender=f"{RPC}/{peer.role}/{peer.node}/{channel.id}/{sequence}/{method.name}",
            destination=f"{self._node}/{ACTOR}",
            payload=called.command,
        )
        if not self._deliver(envelope) and caller.calls.pop(sequence, None) is not None:
            self._answer(caller, method, sequence, NotAvailable(detail=f"{self._node} takes no calls now"))

    def reply(self, envelope: Envelope) -> bool:
        """Answer the call that `envelope` is addressed to; False when its caller is gone. Any thread."""
        address = envelope.destination.split("/")
        caller = self._callers.get(address[3]) if len(address) == 6 else None
        method = self._codec.methods.get(address[-1])
        if caller is None or method is None or not address[4].lstrip("-").isdecimal():
            self._counters.add("rpc_dropped")
            return False
        sequence = int(address[4])
        answer = self._encode(method, envelope.payload)
        self._reactor.call_soon(lambda: self._finish(caller, method, sequence, answer))
        return True

    def expire(self, now: float) -> None:
        """Answer the calls that waited too long; `now` is of time.monotonic()."""
        for caller in tuple(self._callers.values()):
            while caller.calls:
                sequence, (method, since) = next(iter(caller.calls.items()))
                if now - since < self._timeout_s:
                    break
                del caller.calls[sequence]
                detail = f"no answer within {self._timeout_s:g} s: read back before trying again"
                self._answer(caller, method, sequence, NotAvailable(detail=detail, outcome_unknown=True))
                caller.channel.flush()

    def _finish(
        self, caller: _Caller, method: Method, sequence: int, answer: bytes | ApplicationFailure
    ) -> None:
        waiting = caller.calls.get(sequence)
        if caller.channel.closed or waiting is None or waiting[0] is not method:
            self._counters.add("rpc_dropped")
            return
        del caller.calls[sequence]
        self._counters.add("rpc_replies")
        if isinstance(answer, bytes):
            unread = caller.connection.outgoing.size
            if unread and unread + len(answer) > self._max_unread_bytes:
                self._counters.add("rpc_refused")
                detail = f"{unread} bytes of answers wait to be read: ask for less at a time, and read faster"
                self._answer(caller, method, sequence, NotAvailable(detail=detail, outcome_unknown=True))
            else:
                caller.connection.reply(method, sequence, answer)
        else:
            caller.connection.fail(method.name, sequence, answer)
        caller.channel.flush_soon()

    def _answer(self, caller: _Caller, method: Method, sequence: int, value: NotAvailable) -> None:
        caller.connection.reply(method, sequence, self._codec.encode_result(method, value))

    def _encode(self, method: Method, value: object) -> bytes | ApplicationFailure:
        try:
            encoded = self._codec.encode_result(method, value)
        except Refusal as error:
            self._counters.add("callback_errors")
            return ApplicationFailure(message=f"a wrong reply to {method.name}: {error}", type=INTERNAL_ERROR)
        if len(encoded) + FRAME_OVERHEAD_BYTES > self._max_frame_bytes:
            detail = (
                f"the answer has {len(encoded)} bytes, a frame at most {self._max_frame_bytes}: ask for less"
            )
            return self._codec.encode_result(method, Refused(code="too_large", detail=detail))
        return encoded
