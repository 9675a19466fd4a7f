"""The domain envelope, its addresses and its ids. Pure; knows nothing of the wire.

An address is `node/actor`, or `leader/actor` for whoever leads. `rpc/…` is where answers to public
calls go; only the bus itself makes such an address.
"""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass

from khala.errors import ConfigurationError

LEADER = "leader"
RPC = "rpc"


@dataclass(frozen=True, slots=True)
class UnknownPayload:
    """A message that this version does not know; it is counted and dropped, and harms nobody (P16)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message on its way.

    `cause` is the id of the envelope that this one answers, or empty. `deadline` is the Unix time in
    seconds after which a queue may drop it; 0 means never. `payload` is a dataclass of
    khala.core.messages or khala.core.commands.
    """

    id: str
    sender: str
    destination: str
    cause: str = ""
    deadline: float = 0.0
    payload: object


class EnvelopeIds:
    """Unique ids: a random prefix for each bus, then a count. Thread-safe."""

    def __init__(self) -> None:
        self.prefix = secrets.token_hex(6)
        self._count = itertools.count(1)

    def next(self) -> str:
        """An id that no other envelope has."""
        return f"{self.prefix}-{next(self._count):x}"


def node_of(address: str) -> str:
    """The node part of an address."""
    return address.partition("/")[0]


def actor_of(address: str) -> str:
    """The actor part of an address."""
    return address.partition("/")[2]


def is_node_name(name: str) -> bool:
    """Whether `name` may name a node: printable, no slash or space, not one of the reserved words."""
    return (
        0 < len(name) <= 200
        and name.isprintable()
        and not any(c == "/" or c.isspace() for c in name)
        and name not in (LEADER, RPC)
    )


def check_node_name(name: str) -> None:
    """Raise ConfigurationError unless `name` may name a node."""
    if not is_node_name(name):
        raise ConfigurationError(
            f"{name!r} cannot name a node: choose 1 to 200 printable characters without slash or space, "
            f"other than {LEADER!r} and {RPC!r}"
        )
