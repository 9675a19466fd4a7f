"""Frames, message headers and the byte queues."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TTransport import TFramedTransport, TMemoryBuffer

from khala.bus.codec import Codec, MalformedMessage
from khala.bus.envelope import Envelope
from khala.bus.gen import Bus
from khala.bus.wire import CALL, ONEWAY, FrameReader, OutgoingBytes, deliver_frame, frame, parse
from khala.core.messages import OutcomeSettled

CODEC = Codec()


@settings(deadline=None, database=None)
@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(1, 40), min_size=1))
def test_frames_are_cut_wherever_the_bytes_were_cut(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame(CALL, "ping", number, body) for number, body in enumerate(bodies))
    reader, seen, at = FrameReader(1000), [], 0
    while at < len(stream):
        step = cuts[at % len(cuts)]
        reader.feed(stream[at : at + step])
        seen += [parse(data) for data in reader.frames()]
        at += step
    assert [(m.type, m.name, m.sequence) for m in seen] == [(CALL, "ping", n) for n in range(len(bodies))]
    assert [message.data[message.offset :] for message in seen] == bodies


def test_a_long_frame_is_refused_by_its_length_alone() -> None:
    reader = FrameReader(100)
    reader.feed(b"\x00\x00\x00\x65")
    with pytest.raises(MalformedMessage, match="101 bytes"):
        list(reader.frames())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HT",
        b"\x80\x01\x00\x01",
        b"\x80\x01\x00\x01\xff\xff\xff\xffping",
        b"\x80\x01\x00\x01\x00\x00\x00\x04ping",
        b"\x80\x01\x00\x01\x00\x00\x00\x04p\xc3\xa9g\0\0\0\1",
    ],
)
def test_broken_headers_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse(data)


def test_plain_thrift_reads_a_delivery() -> None:
    sent = [
        Envelope(id=str(n), sender="a/b", destination="c/d", payload=OutcomeSettled(task_id="t", attempt=n))
        for n in range(3)
    ]
    data = deliver_frame([CODEC.encode_envelope(envelope) for envelope in sent])
    protocol = TBinaryProtocol(TFramedTransport(TMemoryBuffer(data)))
    assert protocol.readMessageBegin() == ("deliver", ONEWAY, 0)
    arguments = Bus.deliver_args()
    arguments.read(protocol)
    assert [envelope.payload.outcome_settled.attempt for envelope in arguments.envelopes] == [0, 1, 2]
    message = parse(data[4:])
    assert CODEC.decode_argument(CODEC.methods["deliver"], message.data, message.offset) == tuple(sent)


@settings(deadline=None, database=None)
@given(st.lists(st.binary(min_size=1, max_size=20)), st.lists(st.integers(1, 30), min_size=1))
def test_outgoing_bytes_leave_in_order_however_little_is_sent(chunks: list[bytes], steps: list[int]) -> None:
    outgoing, sent, turn = OutgoingBytes(), b"", 0
    for chunk in chunks:
        outgoing.append(chunk)
    while outgoing.size:
        ready = b"".join(outgoing.first(3))
        taken = min(steps[turn % len(steps)], len(ready))
        sent += ready[:taken]
        outgoing.drop(taken)
        turn += 1
    assert sent == b"".join(chunks)
    assert outgoing.first(1) == []
