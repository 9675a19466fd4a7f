"""How a setting is declared once and known everywhere: on the command line, in the environment, in a file.

A role's settings are the fields of its dataclass; each field's metadata carries a `Flag`. The
command line builds its options from the same flags, so a name is written in one place. Pure: no
file, socket or environment is touched here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a setting's text must be; `khala.config.values` turns the text into the value."""

    TEXT = "text"
    PATH = "path"
    NAME = "name"
    ADDRESS = "address"
    URL = "url"
    PORT = "port"
    ADVERTISED_PORT = "port or DOCKER"
    COUNT = "count"
    SECONDS = "seconds"
    NUMBER = "number"
    SIZE = "size"
    DIGEST = "sha256"
    SWITCH = "switch"
    PAIRS = "key=value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One setting: `field` is its Python and TOML name; `ignored` says why it means nothing any more."""

    field: str
    kind: Kind
    help: str
    default: str = ""
    choices: tuple[str, ...] = ()
    ignored: str = ""
    secret: bool = False

    @property
    def option(self) -> str:
        """The name on the command line, as in `--etcd-name`."""
        return "--" + self.field.replace("_", "-")

    @property
    def variable(self) -> str:
        """The name in the environment, as in `KHALA_ETCD_NAME`."""
        return "KHALA_" + self.field.upper()


def setting(
    default: object,
    help: str,
    kind: Kind = Kind.TEXT,
    *,
    shown: str | None = None,
    choices: tuple[str, ...] = (),
    ignored: str = "",
    secret: bool = False,
) -> Any:
    """A dataclass field that is also a flag. `shown` words a default that is worked out at start."""
    text = shown if shown is not None else _as_text(default)
    template = Flag(
        field="", kind=kind, help=help, default=text, choices=choices, ignored=ignored, secret=secret
    )
    metadata = {"flag": template}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


def flags_of(role: type) -> tuple[Flag, ...]:
    """The flags of a role's dataclass, in the order in which they were declared."""
    found = []
    for entry in dataclasses.fields(role):
        flag: Flag = entry.metadata["flag"]
        found.append(dataclasses.replace(flag, field=entry.name))
    return tuple(found)


def _as_text(default: object) -> str:
    return str(default) if default and default is not True else ""
