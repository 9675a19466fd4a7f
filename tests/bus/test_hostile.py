"""Whatever arrives at the port, only its own connection suffers, and it is counted."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from bus.raw import RawPeer
from bus.worlds import Inbox, ThriftWorld
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wait import wait_until

from khala.bus.bus import ThriftBus
from khala.bus.codec import Codec
from khala.bus.envelope import Envelope
from khala.bus.wire import CALL, EXCEPTION, ONEWAY, REPLY, FrameReader, deliver_frame, frame, parse
from khala.core import commands, transfers
from khala.core.messages import OutcomeSettled, TasksSettled

CODEC = Codec()
MESSAGE = OutcomeSettled(task_id="t", attempt=1)


@pytest.fixture
def judicator(thrift_world: ThriftWorld) -> Iterator[ThriftBus]:
    """A bus with a well-behaved peer, which still works when the test is over."""
    bus = thrift_world.bus("j1", max_frame_bytes=1 << 20)
    executor, inbox = thrift_world.bus("e1", "executor", listen=False), Inbox()
    bus.register("store", inbox)
    executor.set_peers({"j1": thrift_world.address(bus)})
    wait_until(lambda: bus.peers() and executor.peers())
    yield bus
    assert executor.send("j1/store", MESSAGE)
    wait_until(lambda: inbox.envelopes)
    wait_until(lambda: list(bus.peers()) == ["e1"])
    assert executor.stats().timed_out_connections == executor.stats().malformed == 0
    assert bus.stats().callback_errors == 0


def delivery(*payloads: object, sender: str = "x1/a", destination: str = "j1/store") -> bytes:
    envelopes = [
        Envelope(id=str(number), sender=sender, destination=destination, payload=payload)
        for number, payload in enumerate(payloads)
    ]
    return deliver_frame([CODEC.encode_envelope(envelope) for envelope in envelopes])


def call(name: str, argument: object = None, kind: int = CALL) -> bytes:
    return frame(kind, name, 1, CODEC.encode_argument(CODEC.methods[name], argument))


STRANGE = {
    "a length of 2 GiB": b"\x7f\xff\xff\xff",
    "a length of 4 GiB": b"\xff\xff\xff\xff",
    "a length over 4 KiB": struct.pack("!I", 4097),
    "http": b"GET / HTTP/1.1\r\nHost: khala\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    "an empty frame": b"\0\0\0\0",
    "garbage in a frame": struct.pack("!I", 400) + bytes(range(200)) * 2,
    "an unframed message": call("challenge")[4:],
    "no challenge": call("keep_alive", kind=ONEWAY),
    "a call before the hello": call("ping", commands.Ping()),
    "envelopes before the hello": delivery(MESSAGE),
    "an answer": frame(REPLY, "challenge", 0, b"\0"),
    "an exception": frame(EXCEPTION, "challenge", 0, b"\0"),
    "two challenges": call("challenge") * 2,
    "a hello without a challenge": frame(CALL, "hello", 0, b"\x0c\0\1\0\0"),
    "an empty hello": call("challenge") + frame(CALL, "hello", 0, b"\x0c\0\1\0\0"),
    "a foreign method": frame(CALL, "rm", 0, b"\0"),
    "deep nesting": frame(CALL, "hello", 0, b"\x0c\0\1" * 1000),
    "a huge container": frame(CALL, "challenge", 0, b"\x0f\0\1\x0c\x7f\xff\xff\xff"),
    "a huge text": frame(CALL, "challenge", 0, b"\x0b\0\1\x7f\xff\xff\xff"),
}


@pytest.mark.parametrize("data", STRANGE.values(), ids=STRANGE.keys())
def test_strangers_are_closed_and_counted(judicator: ThriftBus, data: bytes) -> None:
    with RawPeer(judicator.listen_port) as peer:
        assert peer.send(data).is_closed_by_the_bus()
    wait_until(lambda: judicator.stats().malformed == 1)


AUTHENTICATED = {
    "a length of 2 GiB": b"\x7f\xff\xff\xff",
    "a frame over the limit": struct.pack("!I", (1 << 20) + 1),
    "garbage": struct.pack("!I", 500) + b"\x80\x01\0\1" + b"g" * 496,
    "a second hello": call("challenge") + frame(CALL, "hello", 0, b"\x0c\0\1\0\0"),
    "an answer": frame(REPLY, "ping", 0, b"\0"),
    "deep nesting": frame(ONEWAY, "deliver", 0, b"\x0c\0\7" * 100_000),
    "nested lists": frame(ONEWAY, "deliver", 0, b"\x0f\0\7" + b"\x0f\0\0\0\1" * 100_000),
    "a huge container": frame(ONEWAY, "deliver", 0, b"\x0f\0\1\x0c\x7f\xff\xff\xff"),
    "a negative container": frame(ONEWAY, "deliver", 0, b"\x0f\0\1\x0c\xff\xff\xff\xff"),
    "a huge skipped map": frame(
        ONEWAY, "deliver", 0, b"\x0d\0\7\x0b\x0b\x7f\xff\xff\xff" + b"\0" * 1_000_000
    ),
    "a list of nothing": frame(ONEWAY, "deliver", 0, b"\x0f\0\1\x0c\0\x03\xff\xff" + b"\0" * 500_000),
    "no arguments": frame(ONEWAY, "deliver", 0, b"\0"),
    "a call cut short": frame(CALL, "submit", 1, b"\x0c\0\1"),
    "bytes after the end": frame(CALL, "ping", 1, b"\x0c\0\1\0\0" + b"more"),
    "a damaged envelope": delivery(MESSAGE).replace(b"\x0a\0\2", b"\x0a\0\3"),
}


@pytest.mark.parametrize("data", AUTHENTICATED.values(), ids=AUTHENTICATED.keys())
def test_a_peer_that_talks_nonsense_is_closed_and_counted(judicator: ThriftBus, data: bytes) -> None:
    with RawPeer(judicator.listen_port) as peer:
        assert peer.greet().send(data).is_closed_by_the_bus()
    wait_until(lambda: judicator.stats().malformed == 1)


@settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=300), framed=st.booleans(), polite=st.booleans())
def test_random_bytes_harm_nobody(judicator: ThriftBus, data: bytes, framed: bool, polite: bool) -> None:
    with RawPeer(judicator.listen_port) as peer:
        if polite:
            peer.greet()
        peer.send((struct.pack("!I", len(data)) if framed else b"") + data)


def test_a_foreign_method_is_answered_and_the_connection_stays(judicator: ThriftBus) -> None:
    with RawPeer(judicator.listen_port) as peer:
        peer.greet().send(frame(CALL, "rm", 7, b"\0"))
        assert b"there is no method" in peer.sock.recv(4096)
        peer.send(delivery(MESSAGE))
        wait_until(lambda: judicator.stats().received == 1)


def test_a_client_may_not_send_envelopes(judicator: ThriftBus) -> None:
    with RawPeer(judicator.listen_port) as peer:
        assert peer.greet(role="client").send(delivery(MESSAGE)).is_closed_by_the_bus()
    wait_until(lambda: judicator.stats().malformed == 1)
    assert judicator.stats().received == 0


@pytest.mark.parametrize(
    "destination", ["rpc/client/x/1/1/ping", "leader/store", "", "/", "j1", "j1/", "e9/a"]
)
def test_strange_addresses_are_dead_letters(judicator: ThriftBus, destination: str) -> None:
    with RawPeer(judicator.listen_port) as peer:
        peer.greet().send(delivery(MESSAGE, destination=destination))
        wait_until(lambda: judicator.stats().dead_letters == 1)


def test_an_unknown_message_is_dropped_and_the_rest_arrives(judicator: ThriftBus) -> None:
    known = CODEC.encode_envelope(Envelope(id="1", sender="x1/a", destination="j1/store", payload=MESSAGE))
    unknown = known.replace(b"\x0c\0\6\x0c\0\6", b"\x0c\0\6\x0c\3\xe7")
    assert unknown != known
    with RawPeer(judicator.listen_port) as peer:
        peer.greet().send(deliver_frame([unknown, known]))
        wait_until(lambda: judicator.stats().delivered == 1)
    assert judicator.stats().unknown_payloads == 1


def test_silence_before_the_hello_ends(thrift_world: ThriftWorld) -> None:
    bus = thrift_world.bus("j1", hello_timeout_s=0.5)
    with RawPeer(bus.listen_port) as peer:
        assert peer.is_closed_by_the_bus()
    wait_until(lambda: bus.stats().timed_out_connections == 1)


def test_a_slow_hello_ends(thrift_world: ThriftWorld) -> None:
    """One byte now and then does not buy more time."""
    bus = thrift_world.bus("j1", hello_timeout_s=0.5)
    with RawPeer(bus.listen_port) as peer:
        peer.sock.settimeout(0.3)
        hello = iter(call("challenge"))

        def dribble() -> bool:
            peer.send(bytes([next(hello)]))
            return peer.is_closed_by_the_bus()

        wait_until(dribble)
    wait_until(lambda: bus.stats().timed_out_connections == 1)


def test_an_unfinished_frame_and_then_silence_ends(thrift_world: ThriftWorld) -> None:
    bus = thrift_world.bus("j1", idle_timeout_s=0.5, keep_alive_s=0.2)
    with RawPeer(bus.listen_port) as peer:
        peer.greet().send(struct.pack("!I", 1000) + b"x")
        assert peer.is_closed_by_the_bus()
    wait_until(lambda: bus.stats().timed_out_connections == 1)


def test_half_open_connections_end(thrift_world: ThriftWorld) -> None:
    """The other end is gone without a word: nothing but time can tell."""
    bus = thrift_world.bus("j1", idle_timeout_s=0.5, keep_alive_s=0.2)
    with RawPeer(bus.listen_port) as peer:
        peer.greet()
        peer.sock.shutdown(socket.SHUT_RD)
        wait_until(lambda: not bus.peers() and bus.stats().connections == 0)


def test_a_peer_that_does_not_read_is_pushed_back_then_left(thrift_world: ThriftWorld) -> None:
    bus = thrift_world.bus("j1", outbox_bytes=1_000_000, idle_timeout_s=2.0, keep_alive_s=0.2)
    big = TasksSettled(task_ids=("x" * 100_000,))
    with RawPeer(bus.listen_port, receive_buffer_bytes=4096) as peer:
        peer.greet()
        wait_until(bus.peers)

        def left() -> bool:  # the kernel's own buffers take a few megabytes first
            while bus.send("x1/executor", big):
                assert bus.stats().queued_bytes <= 1_000_000
            peer.send(call("keep_alive", kind=ONEWAY))
            return not bus.peers()

        wait_until(left)
    assert bus.stats().outbox_refused >= 1
    wait_until(lambda: bus.stats().timed_out_connections == 1)


def test_a_client_that_does_not_read_its_answers_is_not_served_for_ever(judicator: ThriftBus) -> None:
    chunk = transfers.FileChunk(sha256="", size=0, offset=0, data=b"x" * 500_000)
    answered = Inbox()

    def deliver(envelope: Envelope) -> None:
        if judicator.reply(envelope, chunk):
            answered(envelope.id)

    judicator.register("judicator", deliver)
    argument = transfers.GetFileChunk(sha256="", offset=0, length=1)
    encoded = CODEC.encode_argument(CODEC.methods["get_file"], argument)
    with RawPeer(judicator.listen_port, receive_buffer_bytes=4096) as peer:
        peer.greet(role="client")
        peer.sock.settimeout(3.0)
        with pytest.raises((TimeoutError, ConnectionError)):
            for sequence in range(1_000_000):
                peer.sock.sendall(frame(CALL, "get_file", sequence, encoded))
    assert judicator.stats().rpc_calls < 1000
    wait_until(lambda: answered.envelopes, what="an answer")


def test_answers_beyond_what_may_wait_become_a_clear_no(judicator: ThriftBus) -> None:
    """With frames of 1 MiB, 8 MiB may wait: of 20 answers of 500 kB in one go, some find no room."""
    inbox = Inbox()
    judicator.register("judicator", inbox)
    chunk = transfers.FileChunk(sha256="", size=0, offset=0, data=b"x" * 500_000)
    method = CODEC.methods["get_file"]
    encoded = CODEC.encode_argument(method, transfers.GetFileChunk(sha256="", offset=0, length=1))
    with RawPeer(judicator.listen_port, receive_buffer_bytes=4096) as peer:
        peer.greet(role="client")
        peer.send(b"".join(frame(CALL, "get_file", sequence, encoded) for sequence in range(40)))
        wait_until(lambda: len(inbox.envelopes) == 40)
        for envelope in inbox.envelopes:
            judicator.reply(envelope, chunk)
        wait_until(lambda: judicator.stats().rpc_replies == 40)
        assert judicator.stats().rpc_refused > 0
        reader, messages = FrameReader(1 << 20), []
        while len(messages) < 40:
            reader.feed(peer.sock.recv(1 << 20))
            messages += [parse(data) for data in reader.frames()]
    answers = [CODEC.decode_result(method, message.data, message.offset) for message in messages]
    refused = [answer for answer in answers if isinstance(answer, commands.NotAvailable)]
    assert len(refused) == judicator.stats().rpc_refused
    assert all(answer.outcome_unknown for answer in refused)
    assert answers.count(chunk) == 40 - len(refused) >= 8


def test_five_hundred_idle_connections_keep_nobody_out(
    judicator: ThriftBus, thrift_world: ThriftWorld
) -> None:
    with ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(RawPeer(judicator.listen_port))
        late, inbox = thrift_world.bus("e2", "executor", listen=False), Inbox()
        late.register("executor", inbox)
        late.set_peers({"j1": thrift_world.address(judicator)})
        wait_until(lambda: "e2" in judicator.peers())
        assert judicator.send("e2/executor", MESSAGE)
        wait_until(lambda: inbox.envelopes)
        assert judicator.stats().unauthenticated <= 64
        assert judicator.stats().refused_connections >= 100, (
            "all but those few that may be anonymous at a time"
        )
        late.close()
        wait_until(lambda: "e2" not in judicator.peers())


def test_the_number_of_connections_is_bounded(thrift_world: ThriftWorld) -> None:
    bus = thrift_world.bus("j1", max_connections=3)
    with ExitStack() as stack:
        for number in range(3):
            stack.enter_context(RawPeer(bus.listen_port)).greet(node=f"x{number}")
        with RawPeer(bus.listen_port) as peer:
            assert peer.is_closed_by_the_bus()
        wait_until(lambda: (bus.stats().connections, bus.stats().refused_connections) == (3, 1))
    wait_until(lambda: bus.stats().connections == 0)
    with RawPeer(bus.listen_port) as peer:
        peer.greet()


@pytest.mark.parametrize("secret", [b"wrong", None])
def test_a_wrong_secret_is_refused_and_counted(judicator: ThriftBus, secret: bytes | None) -> None:
    with RawPeer(judicator.listen_port) as peer, pytest.raises(AssertionError, match="secret"):
        peer.greet(secret=secret)
    if secret:
        wait_until(lambda: judicator.stats().refused_hellos == 1)
