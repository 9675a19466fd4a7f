"""One connection as a state machine: bytes in, events out, bytes to send in `outgoing`.

Pure but for the nonces of the handshake: no socket, no clock, no thread. `AcceptedConnection` is the
end that was dialled, `DialledConnection` the end that dials. MalformedMessage from `receive` means
that this connection must be closed; nothing else is affected.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from khala.bus.codec import ApplicationFailure, Codec, MalformedMessage, Method
from khala.bus.envelope import Envelope
from khala.bus.handshake import (
    Challenge,
    Hello,
    Identity,
    Welcome,
    answer_challenge,
    check_hello,
    check_welcome,
    make_challenge,
)
from khala.bus.interface import CLIENT, KIB, Peer
from khala.bus.wire import CALL, EXCEPTION, ONEWAY, REPLY, FrameReader, Message, OutgoingBytes, frame, parse
from khala.core.commands import Refused
from khala.errors import Refusal

GREETING_FRAME_BYTES = 4 * KIB
UNKNOWN_METHOD = 1
INTERNAL_ERROR = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The handshake is complete; `peer` is proven (as far as the cluster has a secret)."""

    peer: Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class HelloRefused:
    """The handshake failed; the connection closes once its last bytes are sent."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopesDelivered:
    """The peer sent envelopes."""

    envelopes: tuple[Envelope, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """The peer calls a method of the public service."""

    method: Method
    sequence: int
    command: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The peer answers the call with this sequence number; the bytes are not decoded yet."""

    message: Message


Event = Opened | HelloRefused | EnvelopesDelivered | Called | Answered


class Connection(ABC):
    """What both ends have in common: framing, the state, oneway messages."""

    def __init__(self, codec: Codec, identity: Identity, *, max_frame_bytes: int) -> None:
        self.outgoing = OutgoingBytes()
        self.peer: Peer | None = None
        self.closing = ""  # why to close, once the outgoing bytes are sent
        self._codec = codec
        self._identity = identity
        self._max_frame_bytes = max_frame_bytes
        self._reader = FrameReader(GREETING_FRAME_BYTES)

    def receive(self, data: bytes | memoryview) -> Iterator[Event]:
        """Take bytes that arrived; the events are to be consumed in order, to the end."""
        self._reader.feed(data)
        for complete in self._reader.frames():
            if self.closing:
                return
            message = parse(complete)
            event = self._greet(message) if self.peer is None else self._handle(message)
            if event is not None:
                yield event

    def keep_alive(self) -> None:
        """Say something, so that the peer hears that this node lives."""
        self._call(ONEWAY, "keep_alive", 0, None)

    def _open(self, peer: Peer) -> Opened:
        self.peer = peer
        self._reader.limit_bytes = self._max_frame_bytes
        return Opened(peer=peer)

    def _call(self, kind: int, name: str, sequence: int, argument: object) -> None:
        method = self._codec.methods[name]
        self.outgoing.append(frame(kind, name, sequence, self._codec.encode_argument(method, argument)))

    def _oneway(self, message: Message) -> Event | None:
        argument = self._codec.decode_argument(
            self._codec.methods[message.name], message.data, message.offset
        )
        if message.name == "keep_alive":
            return None
        if self.peer is None or self.peer.role == CLIENT:
            raise MalformedMessage("envelopes from a client: only nodes of the cluster may send them")
        return EnvelopesDelivered(envelopes=argument)

    @abstractmethod
    def _greet(self, message: Message) -> Event | None:
        """Handle a message before the handshake is complete."""

    @abstractmethod
    def _handle(self, message: Message) -> Event | None:
        """Handle a message after it."""


class AcceptedConnection(Connection):
    """The end that was dialled: it challenges, checks the hello, and serves calls."""

    _challenge: Challenge | None = None

    def reply(self, method: Method, sequence: int, encoded_result: bytes) -> None:
        """Answer a call."""
        self.outgoing.append(frame(REPLY, method.name, sequence, encoded_result))

    def fail(self, name: str, sequence: int, failure: ApplicationFailure) -> None:
        """Answer a call that could not be tried."""
        self.outgoing.append(frame(EXCEPTION, name, sequence, self._codec.encode_failure(failure)))

    def _greet(self, message: Message) -> Event | None:
        if message.type == CALL and message.name in ("challenge", "hello"):
            method = self._codec.methods[message.name]
            argument = self._codec.decode_argument(method, message.data, message.offset)
            if method.name == "challenge" and self._challenge is None:
                self._challenge = make_challenge(self._identity)
                self._answer(method, message, self._challenge)
                return None
            if isinstance(argument, Hello) and self._challenge is not None:
                return self._check(method, message, self._challenge, argument)
        raise MalformedMessage("something else than challenge and hello, in this order, on a new connection")

    def _check(self, method: Method, message: Message, challenge: Challenge, hello: Hello) -> Event:
        try:
            peer, welcome = check_hello(self._identity, challenge, hello)
        except Refusal as refusal:
            self._answer(method, message, Refused(code=refusal.code, detail=refusal.detail))
            self.closing = refusal.detail
            return HelloRefused(detail=refusal.detail)
        self._answer(method, message, welcome)
        return self._open(peer)

    def _handle(self, message: Message) -> Event | None:
        if message.type not in (CALL, ONEWAY):
            raise MalformedMessage("an answer to a call that was never made")
        method = self._codec.methods.get(message.name)
        if method is None:
            detail = f"there is no method {message.name!r}"
            self.fail(message.name, message.sequence, ApplicationFailure(message=detail, type=UNKNOWN_METHOD))
            return None
        if method.reply is None:
            return self._oneway(message)
        argument = self._codec.decode_argument(method, message.data, message.offset)
        if method.name == "challenge":  # a client that waits long for an answer asks so whether we live
            self._answer(method, message, make_challenge(self._identity))
            return None
        if method.name == "hello":
            raise MalformedMessage("a second hello")
        return Called(method=method, sequence=message.sequence, command=argument)

    def _answer(self, method: Method, message: Message, value: object) -> None:
        self.reply(method, message.sequence, self._codec.encode_result(method, value))


class DialledConnection(Connection):
    """The end that dials. `expected` is the name that must answer, or empty for anybody's."""

    def __init__(self, codec: Codec, identity: Identity, *, max_frame_bytes: int, expected: str = "") -> None:
        super().__init__(codec, identity, max_frame_bytes=max_frame_bytes)
        self._expected = expected
        self._challenge: Challenge | None = None
        self._hello: Hello | None = None

    def begin(self) -> None:
        """Speak first, once the socket is connected."""
        self._call(CALL, "challenge", 0, None)

    def keep_alive(self) -> None:
        """Say something. A client is told nothing unasked, so it asks for a sign of life."""
        if self._identity.role == CLIENT:
            self._call(CALL, "challenge", 0, None)
        else:
            super().keep_alive()

    def call(self, method: Method, sequence: int, encoded_argument: bytes) -> None:
        """Call a method of the public service."""
        self.outgoing.append(frame(CALL, method.name, sequence, encoded_argument))

    def _greet(self, message: Message) -> Event | None:
        expected = "challenge" if self._hello is None else "hello"
        if message.type != REPLY or message.name != expected:
            raise MalformedMessage(f"expected the answer to {expected}: is this a judicator's port?")
        answer = self._codec.decode_result(self._codec.methods[expected], message.data, message.offset)
        try:
            if isinstance(answer, Challenge):
                self._challenge = answer
                self._hello = answer_challenge(self._identity, answer)
                self._call(CALL, "hello", 0, self._hello)
                return None
            if isinstance(answer, Welcome) and self._challenge and self._hello:
                return self._open(
                    check_welcome(self._identity, self._challenge, self._hello, answer, self._expected)
                )
            if isinstance(answer, Refused):
                raise Refusal(answer.detail, code=answer.code)
        except Refusal as refusal:
            self.closing = refusal.detail
            return HelloRefused(detail=refusal.detail)
        raise MalformedMessage("an answer that does not fit the question")

    def _handle(self, message: Message) -> Event | None:
        if message.type == ONEWAY and message.name in ("deliver", "keep_alive"):
            return self._oneway(message)
        if message.type in (REPLY, EXCEPTION):
            return Answered(message=message)
        raise MalformedMessage("a call in the wrong direction")
