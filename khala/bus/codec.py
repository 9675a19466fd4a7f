"""Bytes to domain dataclasses and back, in Thrift's binary protocol, without objects in between.

Owns the derived specs; stateless after construction, so any thread may use it. Only structs are
coded here; frames and message headers are in `khala.bus.wire`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from types import ModuleType
from typing import Any

from thrift.Thrift import TType

from khala.bus import handshake
from khala.bus.envelope import Envelope
from khala.bus.gen import Bus, Judicator, ttypes
from khala.bus.interface import MIB
from khala.bus.specs import Holder, NoFields, OnlyField, OnlyMember, Spec, StructArgs, StructSpecs, single
from khala.core import checking, commands, dependencies, jobs, messages, operations, people, task, transfers
from khala.errors import ConfigurationError, Refusal

try:
    from thrift.protocol import fastbinary
except ImportError:
    fastbinary = None

_MODULES = (
    checking, dependencies, task, messages, commands, transfers, people, operations, jobs, handshake,
)  # fmt: skip
_COMMAND_MODULES = frozenset(module.__name__ for module in (commands, transfers, people, operations, jobs))


class MalformedMessage(Refusal):
    """Bytes that came from outside do not say what they should."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, code="malformed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationFailure:
    """Thrift's own exception: the call could not even be tried. `type` as in TApplicationException."""

    message: str = ""
    type: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method of the service. `argument` and `reply` are dataclasses, or None.

    The rest is how to code them: `writers` is by the class of the answer.
    """

    name: str
    argument: type | None
    reply: type | None
    argument_writer: StructArgs
    argument_reader: StructArgs
    result_writers: Mapping[type, StructArgs]
    result_reader: StructArgs


class _Outgoing:
    """An envelope as the encoder needs it: its payload is in a holder."""

    __slots__ = ("cause", "deadline", "destination", "id", "payload", "sender")

    def __init__(self, envelope: Envelope) -> None:
        self.id = envelope.id
        self.sender = envelope.sender
        self.destination = envelope.destination
        self.cause = envelope.cause
        self.deadline = envelope.deadline
        self.payload = Holder(envelope.payload)


class _Source:
    """What the decoder reads from: the protocol object and its transport in one."""

    __slots__ = ("container_length_limit", "cstringio_buf", "string_length_limit")

    def __init__(self, data: bytes, offset: int, max_bytes: int) -> None:
        self.cstringio_buf = BytesIO(data)
        self.cstringio_buf.seek(offset)
        self.string_length_limit = max_bytes
        # No element that we send takes less than four bytes, so whatever fits into a frame passes.
        self.container_length_limit = max_bytes // 4

    @property
    def trans(self) -> _Source:
        return self

    def cstringio_refill(self, _prefix: bytes, wanted: int) -> BytesIO:
        raise EOFError(f"it ends where {wanted} more bytes should be")


class Codec:
    """Encodes and decodes envelopes, arguments and results. Needs Thrift's C extension.

    Encoding raises Refusal for a value that cannot travel (a text with half a surrogate pair, a number
    beyond 64 bits, a class without a place in the IDL); decoding raises MalformedMessage.
    """

    def __init__(self, *, max_frame_bytes: int = 8 * MIB) -> None:
        if fastbinary is None:
            raise ConfigurationError(
                "Thrift's C extension is missing: reinstall the library `thrift` where a C++ compiler and "
                "Python's headers are (pip install --force-reinstall --no-binary thrift thrift)"
            )
        self._max_bytes = max_frame_bytes
        structs = StructSpecs(ttypes, domain_classes(), {"Payload": OnlyMember})
        self._envelope = structs["Envelope"]
        self._envelope_writers = dict(_envelope_writers(structs))
        self._failure: StructArgs = [
            ApplicationFailure,
            (None, (1, TType.STRING, "message", "UTF8", None), (2, TType.I32, "type", None, None)),
        ]
        self.methods: Mapping[str, Method] = {
            name: _method(name, module, structs)
            for module in (Bus, Judicator)
            for name in vars(module.Iface)
            if not name.startswith("_")
        }
        self.method_of: Mapping[type, Method] = {
            method.argument: method
            for method in self.methods.values()
            if method.argument is not None and method.argument.__module__ in _COMMAND_MODULES
        }

    @property
    def payload_classes(self) -> frozenset[type]:
        """The classes that an envelope may carry."""
        return frozenset(self._envelope_writers)

    def encode_envelope(self, envelope: Envelope) -> bytes:
        """The struct Envelope."""
        writer = self._envelope_writers.get(type(envelope.payload))
        if writer is None:
            raise Refusal(f"{type(envelope.payload).__name__} is not a message that can travel")
        return _encode(_Outgoing(envelope), writer)

    def decode_envelope(self, data: bytes, offset: int = 0) -> Envelope:
        """One struct Envelope that ends where `data` ends."""
        envelope: Envelope = self._decode(data, offset, self._envelope)
        return envelope

    def encode_argument(self, method: Method, value: object) -> bytes:
        """The struct of a method's arguments, here at most one."""
        return _encode(Holder(value), method.argument_writer)

    def decode_argument(self, method: Method, data: bytes, offset: int) -> Any:
        """The argument of a call; None for a method without one."""
        return self._decode(data, offset, method.argument_reader)

    def encode_result(self, method: Method, value: object) -> bytes:
        """The struct of a method's result: its reply, or one of the exceptions that it declares."""
        writer = method.result_writers.get(type(value))
        if writer is None:
            raise Refusal(f"{type(value).__name__} is no answer to {method.name}")
        return _encode(Holder(value), writer)

    def decode_result(self, method: Method, data: bytes, offset: int) -> Any:
        """The reply or declared exception in a result."""
        return self._decode(data, offset, method.result_reader)

    def encode_failure(self, failure: ApplicationFailure) -> bytes:
        """Thrift's TApplicationException."""
        return _encode(failure, self._failure)

    def decode_failure(self, data: bytes, offset: int) -> ApplicationFailure:
        """Thrift's TApplicationException."""
        failure: ApplicationFailure = self._decode(data, offset, self._failure)
        return failure

    def _decode(self, data: bytes, offset: int, struct: StructArgs) -> Any:
        source = _Source(data, offset, self._max_bytes)
        try:
            value = fastbinary.decode_binary(None, source, struct)
        except Exception as error:  # whatever the extension or a constructor made of foreign bytes
            raise MalformedMessage(f"cannot read {struct[0].__name__}: {error!r}") from error
        if source.cstringio_buf.tell() != len(data):
            raise MalformedMessage(
                f"{len(data) - source.cstringio_buf.tell()} bytes after the end of a message"
            )
        return value


def _encode(value: object, struct: StructArgs) -> bytes:
    try:
        encoded: bytes = fastbinary.encode_binary(value, struct)
    except (TypeError, ValueError, OverflowError, AttributeError, SystemError) as error:
        raise Refusal(f"a value cannot travel: {error!r}") from error
    return encoded


def domain_classes() -> Iterator[type]:
    """Every dataclass that the IDL has as a struct."""
    yield Envelope
    for module in (
        checking,
        dependencies,
        task,
        messages,
        commands,
        transfers,
        people,
        operations,
        jobs,
        handshake,
    ):
        for found in vars(module).values():
            if (
                dataclasses.is_dataclass(found)
                and isinstance(found, type)
                and found.__module__ == module.__name__
            ):
                yield found


def _envelope_writers(structs: StructSpecs) -> Iterator[tuple[type, StructArgs]]:
    """How to write an envelope, by the class of its payload."""
    domain = {cls.__name__: cls for cls in domain_classes()}
    spec = structs["Envelope"][1]
    number, ttype, name, _payload, _default = spec[-1]
    for member in filter(None, structs["Payload"][1]):
        union = single((*member[:2], "", member[3], None))
        holder_field = (number, ttype, name, union, None)
        generated = ttypes.Payload.thrift_spec[member[0]][3][0]
        yield domain[generated.__name__], [_Outgoing, (*spec[:-1], holder_field)]


def _method(name: str, module: ModuleType, structs: StructSpecs) -> Method:
    domain = {cls.__name__: cls for cls in domain_classes()}

    def named(item: Spec) -> type | None:
        return domain[item[3][0].__name__] if item[1] == TType.STRUCT else None

    generated = getattr(module, f"{name}_args").thrift_spec
    arguments = structs.translate(generated)
    answers = getattr(getattr(module, f"{name}_result", None), "thrift_spec", ())
    results = structs.translate(answers)
    by_class = {named(raw): single(item) for raw, item in zip(answers, results, strict=True) if raw}
    argument = generated[-1] if generated else None
    return Method(
        name=name,
        argument=named(argument) if argument else None,
        reply=named(answers[0]) if answers else None,
        argument_writer=single(arguments[-1]) if arguments else [Holder, ()],
        argument_reader=[OnlyField if arguments else NoFields, arguments],
        result_writers={cls: writer for cls, writer in by_class.items() if cls is not None},
        result_reader=[OnlyField, results],
    )
