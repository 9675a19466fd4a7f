"""The codec: the IDL and the domain agree, every message survives, and plain Thrift can read it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TType
from thrift.transport.TTransport import TMemoryBuffer

from khala.bus import codec as codec_module
from khala.bus.codec import ApplicationFailure, Codec, MalformedMessage, domain_classes
from khala.bus.envelope import Envelope, UnknownPayload
from khala.bus.gen import ttypes
from khala.bus.handshake import Identity
from khala.core import commands, jobs, messages, operations, people, transfers
from khala.core.messages import AttemptFinished, OutcomeSettled
from khala.core.task import Epoch, ExitReason, Outcome, TaskSpec
from khala.errors import ConfigurationError, Refusal

CODEC = Codec()
DOMAIN = {cls.__name__: cls for cls in domain_classes() if cls is not Identity}
STRUCTS = {
    name: found
    for name, found in vars(ttypes).items()
    if isinstance(found, type) and found.__module__ == ttypes.__name__ and name != "Payload"
}
PAYLOADS = sorted(CODEC.payload_classes, key=lambda cls: cls.__name__)
PLAIN = {"str": (TType.STRING, "UTF8"), "bytes": (TType.STRING, "BINARY"), "bool": (TType.BOOL, None)}


# --- the IDL and the domain agree ---------------------------------------------------------------


def wire_type(hint: Any) -> Any:
    """The (type, arguments) of a generated spec that a type hint stands for."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return wire_type(inner)
    if origin is tuple:
        assert arguments[1] is Ellipsis
        return (TType.LIST, wire_type(arguments[0]))
    if origin is Mapping:
        return (TType.MAP, wire_type(arguments[0]), wire_type(arguments[1]))
    if issubclass(hint, StrEnum):
        return PLAIN["str"]
    if dataclasses.is_dataclass(hint):
        return (TType.STRUCT, hint.__name__)
    return {int: (TType.I64, None), float: (TType.DOUBLE, None)}.get(hint) or PLAIN[hint.__name__]


def spec_type(ttype: int, arguments: Any) -> Any:
    """The same from a generated spec."""
    if ttype == TType.STRUCT:
        return (ttype, arguments[0].__name__)
    if ttype == TType.LIST:
        return (ttype, spec_type(arguments[0], arguments[1]))
    if ttype == TType.MAP:
        return (ttype, spec_type(arguments[0], arguments[1]), spec_type(arguments[2], arguments[3]))
    return (TType.I64 if ttype == TType.I32 else ttype, arguments)


def test_the_idl_and_the_domain_have_the_same_structs() -> None:
    assert set(STRUCTS) == set(DOMAIN)


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_the_idl_and_the_domain_have_the_same_fields(name: str) -> None:
    hints = typing.get_type_hints(DOMAIN[name])
    in_idl = [
        (item[2], spec_type(item[1], item[3])) for item in STRUCTS[name].thrift_spec if item is not None
    ]
    in_domain = [
        (field.name, (TType.STRUCT, "Payload") if field.name == "payload" else wire_type(hints[field.name]))
        for field in dataclasses.fields(DOMAIN[name])
    ]
    assert in_domain == in_idl


def test_every_message_is_a_member_of_the_union_under_its_name() -> None:
    def snake(name: str) -> str:
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")

    members = [(item[2], item[3][0].__name__) for item in ttypes.Payload.thrift_spec if item]
    assert members == [(snake(name), name) for _, name in members]
    parts = {"AttemptView", "QueuedTask", "Caller", "NewTask", "TaskAccepted", "TaskCancel", "ExecutorView"}
    parts |= {"JudicatorView", "UserView", "TokenView", "Quota", "Usage", "AuditEntry", "Sample"}
    parts |= {"Job", "NewJob", "QueuePlace"}
    modules = {module.__name__ for module in (messages, commands, transfers, people, operations, jobs)}
    own = {name for name, cls in DOMAIN.items() if cls.__module__ in modules}
    assert {name for _, name in members} == own - parts


def test_every_command_has_a_method_and_every_method_a_reply() -> None:
    assert len(CODEC.method_of) == len(CODEC.methods) - 4
    for command, method in CODEC.method_of.items():
        assert method.argument is command
        assert method.reply in CODEC.payload_classes
        assert {commands.Refused, commands.NotAvailable} < set(method.result_writers)


# --- every message survives ---------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=8)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field with this type hint."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(
            *(values(argument) if argument is not type(None) else st.none() for argument in arguments)
        )
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=2)
    if dataclasses.is_dataclass(hint):
        return instances(typing.cast(type, hint))
    if issubclass(hint, StrEnum):
        return st.sampled_from(list(hint))
    return {
        str: texts,
        bytes: st.binary(max_size=8),
        bool: st.booleans(),
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False),
    }[hint]


def instances(cls: type) -> st.SearchStrategy[Any]:
    """Values of a dataclass."""
    hints = typing.get_type_hints(cls)
    return st.deferred(
        lambda: st.builds(cls, **{field.name: values(hints[field.name]) for field in dataclasses.fields(cls)})
    )


@pytest.mark.parametrize("cls", PAYLOADS, ids=lambda cls: cls.__name__)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(data=st.data())
def test_every_message_survives(cls: type, data: st.DataObject) -> None:
    sent = Envelope(
        id=data.draw(texts),
        sender=data.draw(texts),
        destination=data.draw(texts),
        cause=data.draw(texts),
        deadline=data.draw(st.floats(allow_nan=False)),
        payload=data.draw(instances(cls)),
    )
    encoded = CODEC.encode_envelope(sent)
    assert CODEC.decode_envelope(encoded) == sent

    by_thrift = ttypes.Envelope()
    by_thrift.read(TBinaryProtocol(TMemoryBuffer(encoded)))
    buffer = TMemoryBuffer()
    by_thrift.write(TBinaryProtocol(buffer))
    assert buffer.getvalue() == encoded
    assert CODEC.decode_envelope(buffer.getvalue()) == sent


def test_what_is_decoded_is_immutable_and_typed() -> None:
    outcome = Outcome(exit_reason=ExitReason.EXITED)
    sent = AttemptFinished(
        executor="e", incarnation="i", task_id="t", attempt=1, started_at=1.0, outcome=outcome
    )
    got = CODEC.decode_envelope(CODEC.encode_envelope(envelope(sent))).payload
    assert isinstance(got, AttemptFinished)
    assert isinstance(got.outcome.exit_reason, ExitReason)
    assert got.outcome.result is None


# --- strangers ------------------------------------------------------------------------------------


def envelope(payload: object) -> Envelope:
    return Envelope(id="1", sender="a/b", destination="c/d", payload=payload)


def plain(struct: Any) -> bytes:
    buffer = TMemoryBuffer()
    struct.write(TBinaryProtocol(buffer))
    return buffer.getvalue()


def test_absent_fields_take_their_defaults() -> None:
    payload = ttypes.Payload(outcome_settled=ttypes.OutcomeSettled(task_id="t", attempt=1))
    encoded = plain(ttypes.Envelope(id="1", sender="a/b", destination="c/d", payload=payload))
    assert CODEC.decode_envelope(encoded) == envelope(OutcomeSettled(task_id="t", attempt=1))


def test_a_missing_required_field_is_malformed() -> None:
    payload = ttypes.Payload(outcome_settled=ttypes.OutcomeSettled(attempt=1))
    with pytest.raises(MalformedMessage, match="task_id"):
        CODEC.decode_envelope(plain(ttypes.Envelope(id="1", sender="a", destination="c", payload=payload)))


def test_an_unknown_word_of_an_enumeration_is_malformed() -> None:
    outcome = ttypes.Outcome(exit_reason="bored")
    finished = ttypes.AttemptFinished(
        executor="e", incarnation="i", task_id="t", attempt=1, started_at=1.0, outcome=outcome
    )
    payload = ttypes.Payload(attempt_finished=finished)
    with pytest.raises(MalformedMessage, match="bored"):
        CODEC.decode_envelope(plain(ttypes.Envelope(id="1", sender="a", destination="c", payload=payload)))


def test_an_unknown_message_is_no_harm() -> None:
    encoded = plain(ttypes.Envelope(id="1", sender="a/b", destination="c/d"))[:-1]
    newer = encoded + b"\x0c\x00\x06" + b"\x0c\x03\xe7\x08\x00\x01\0\0\0\7\0" + b"\0" + b"\0"
    assert CODEC.decode_envelope(newer) == envelope(UnknownPayload())


def test_a_union_with_two_members_is_malformed() -> None:
    payload = ttypes.Payload(ping=ttypes.Ping(), tasks_settled=ttypes.TasksSettled(task_ids=[]))
    with pytest.raises(MalformedMessage, match="2 members"):
        CODEC.decode_envelope(plain(ttypes.Envelope(id="1", sender="a", destination="c", payload=payload)))


@given(st.binary(max_size=200))
@settings(deadline=None, database=None)
def test_random_bytes_are_malformed_or_read(data: bytes) -> None:
    for decode in (
        lambda: CODEC.decode_envelope(data),
        lambda: CODEC.decode_argument(CODEC.methods["deliver"], data, 0),
        lambda: CODEC.decode_result(CODEC.methods["search"], data, 0),
    ):
        try:
            decode()
        except MalformedMessage:
            continue


@given(st.data())
@settings(deadline=None, max_examples=200, database=None)
def test_damaged_messages_are_malformed_or_read(data: st.DataObject) -> None:
    spec = commands.SubmitTasks(tasks=(commands.NewTask(id="1", spec=TaskSpec()),))
    encoded = bytearray(CODEC.encode_envelope(envelope(spec)))
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        CODEC.decode_envelope(bytes(encoded[: data.draw(st.integers(0, len(encoded)))]))
    except MalformedMessage as malformed:
        assert malformed.code == "malformed"


@pytest.mark.parametrize(
    "body",
    [
        b"\x0f\x00\x01\x0c\x7f\xff\xff\xff",  # a list of two billion
        b"\x0f\x00\x01\x0c\xff\xff\xff\xff",  # a list of minus one
        b"\x0d\x00\x07\x0b\x0b\xff\xff\xff\xff\0",  # a skipped map of minus one
        b"\x0b\x00\x07\x7f\xff\xff\xff",  # a skipped text of two gigabytes
        b"\x0c\x00\x07" * 5000,  # structs within structs
        b"\x0f\x00\x07" + b"\x0f\0\0\0\1" * 5000,  # lists within lists
        b"",
    ],
)
def test_hostile_bodies_are_malformed(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        CODEC.decode_argument(CODEC.methods["deliver"], body, 0)


def test_a_map_with_a_negative_size_is_malformed() -> None:
    good = CODEC.encode_envelope(envelope(commands.TaskCounts(counts={"a": 1})))
    head = b"\x0d\x00\x01\x0b\x0a"
    bad = good.replace(head + b"\0\0\0\1", head + b"\xff\xff\xff\xff")
    assert bad != good
    with pytest.raises(MalformedMessage):
        CODEC.decode_envelope(bad)


def test_bytes_after_the_end_are_malformed() -> None:
    with pytest.raises(MalformedMessage, match="after the end"):
        CODEC.decode_envelope(CODEC.encode_envelope(envelope(commands.Ping())) + b"\0")


def test_values_that_cannot_travel_are_refused() -> None:
    for payload in (
        object(),
        OutcomeSettled(task_id="\udc80", attempt=1),
        OutcomeSettled(task_id="t", attempt=2**64),
        OutcomeSettled(task_id=5, attempt=1),  # type: ignore[arg-type]
        messages.LeaderAnnounced(epoch=None, leader=Epoch()),  # type: ignore[arg-type]
    ):
        with pytest.raises(Refusal):
            CODEC.encode_envelope(envelope(payload))


def test_results_carry_replies_and_declared_exceptions_only() -> None:
    ping = CODEC.methods["ping"]
    for answer in (
        commands.Pong(judicator="j1", version="1", ready=True),
        commands.Refused(code="invalid", detail="no"),
        commands.NotAvailable(detail="later", outcome_unknown=True),
    ):
        assert CODEC.decode_result(ping, CODEC.encode_result(ping, answer), 0) == answer
    with pytest.raises(Refusal, match="no answer to ping"):
        CODEC.encode_result(ping, commands.TaskCounts(counts={}))
    with pytest.raises(MalformedMessage):
        CODEC.decode_result(ping, b"\0", 0)
    failure = ApplicationFailure(message="é", type=6)
    assert CODEC.decode_failure(CODEC.encode_failure(failure), 0) == failure


def test_without_the_extension_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_module, "fastbinary", None)
    with pytest.raises(ConfigurationError, match="reinstall"):
        Codec()
