"""Thrift specs for the domain's own dataclasses, derived from the generated ones.

The C extension of Thrift encodes any object whose attributes bear the names in a spec, and decodes a
struct by calling its class with keywords when that class sets attributes in its own way, as frozen
dataclasses do. So a spec in which each generated class is replaced by the dataclass of the same name
needs no generated object, neither on the way out nor on the way in. Pure; built once per codec.

A spec is a tuple of None or (number, type, attribute, arguments, default). Arguments are, for a struct,
the *list* [class, spec]; for a list, (type, arguments, as tuple); for a map, (type, arguments, type,
arguments, frozen). `thrift/src/ext/protocol.tcc` of the Thrift distribution is the reference.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

from thrift.Thrift import TType

from khala.bus.envelope import UnknownPayload

Spec = tuple[Any, ...]
StructArgs = list[Any]


class Holder:
    """What is encoded where the IDL has a union or a list of arguments: one value in a field."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class _Constructor:
    """The base of the classes that build another class's objects.

    The extension takes keywords only to classes that refuse plain assignment; this refusal is why.
    """

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError(f"cannot set {name}")


class OnlyField(_Constructor):
    """Decodes a struct with exactly one field set to that field's value."""

    def __new__(cls, **fields: Any) -> Any:
        if len(fields) != 1:
            raise TypeError(f"expected one field and got {sorted(fields)}")
        return next(iter(fields.values()))


class NoFields(_Constructor):
    """Decodes a struct without fields to None."""

    def __new__(cls) -> Any:
        return None


class OnlyMember(_Constructor):
    """Decodes a union to its one member; to UnknownPayload where that is newer than this version."""

    def __new__(cls, **members: Any) -> Any:
        if len(members) == 1:
            (member,) = members.values()
            return member
        if members:
            raise TypeError(f"a union with {len(members)} members")
        return UnknownPayload()


class StructSpecs:
    """[class, spec] of every struct in `generated`, by name; `domain` are the dataclasses to build."""

    def __init__(
        self, generated: types.ModuleType, domain: Iterable[type], unions: Mapping[str, type]
    ) -> None:
        classes = {cls.__name__: constructor_of(cls) for cls in domain} | dict(unions)
        structs = {
            name: found
            for name, found in vars(generated).items()
            if isinstance(found, type) and found.__module__ == generated.__name__
        }
        self._by_name: dict[str, StructArgs] = {name: [classes[name], ()] for name in structs}
        for name, struct in structs.items():
            self._by_name[name][1] = self.translate(struct.thrift_spec)  # type: ignore[attr-defined]

    def __getitem__(self, name: str) -> StructArgs:
        return self._by_name[name]

    def translate(self, spec: Spec) -> Spec:
        """The same spec with the domain's classes."""
        return tuple(
            item and (item[0], item[1], item[2], self._arguments(item[1], item[3]), None) for item in spec
        )

    def _arguments(self, ttype: int, arguments: Any) -> Any:
        if ttype == TType.STRUCT:
            return self._by_name[arguments[0].__name__]
        if ttype in (TType.LIST, TType.SET):
            return (arguments[0], self._arguments(arguments[0], arguments[1]), True)
        if ttype == TType.MAP:
            key, key_arguments, value, value_arguments, _frozen = arguments
            return (
                key,
                self._arguments(key, key_arguments),
                value,
                self._arguments(value, value_arguments),
                False,
            )
        return arguments


def single(item: Spec) -> StructArgs:
    """To encode a `Holder`'s value as the only field of a struct, as `item` of its spec says."""
    number, ttype, _name, arguments, _default = item
    return [Holder, ((number, ttype, "value", arguments, None),)]


def constructor_of(cls: type) -> type:
    """What decoding calls for `cls`: itself, or a class that first makes its enumerations of strings."""
    hints = typing.get_type_hints(cls)
    conversions = {}
    for field in dataclasses.fields(cls):
        convert = _conversion(hints[field.name])
        if convert is not None:
            conversions[field.name] = convert
    if not conversions:
        return cls

    def build(_cls: type, **fields: Any) -> Any:
        for name, convert in conversions.items():
            if name in fields:
                fields[name] = convert(fields[name])
        return cls(**fields)

    return type(cls.__name__, (_Constructor,), {"__new__": build, "__slots__": ()})


def _conversion(hint: Any) -> Callable[[Any], Any] | None:
    """From the wire's value to that of a field with this type hint; None when they are the same."""
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {member.value: member for member in hint}.__getitem__
    arguments = typing.get_args(hint)
    inner = next((found for found in map(_conversion, arguments) if found is not None), None)
    if inner is None:
        return None
    if typing.get_origin(hint) is tuple:
        convert = inner
        return lambda values: tuple(map(convert, values))
    return inner
