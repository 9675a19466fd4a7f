"""The contract of the bus; `tests/bus/test_contract.py` holds both implementations to it.

Delivery is at most once. Whatever matters is resent by its owner until it is acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from khala.bus.envelope import Envelope, check_node_name
from khala.errors import ConfigurationError

KIB = 1024
MIB = 1024 * KIB
JUDICATOR = "judicator"
CLIENT = "client"
ROLES = frozenset({JUDICATOR, "executor", "gateway", CLIENT})

Deliver = Callable[[Envelope], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """Who this node is and how much it lets others ask of it. Durations in seconds, sizes in bytes.

    `secret` None means an open cluster. `listen` is (host, port), port 0 for any free one, or None
    for a node that only dials out (P14). An outbox is what waits for one peer. `idle_timeout_s` is
    how long a peer may be silent; clients, which need not say they live, get `client_idle_timeout_s`.
    """

    node: str
    role: str
    incarnation: str
    cluster_id: str = ""
    secret: bytes | None = None
    listen: tuple[str, int] | None = None
    max_frame_bytes: int = 8 * MIB
    outbox_envelopes: int = 100_000
    outbox_bytes: int = 64 * MIB
    hello_timeout_s: float = 5.0
    idle_timeout_s: float = 8.0
    client_idle_timeout_s: float = 300.0
    keep_alive_s: float = 2.0
    reconnect_min_s: float = 0.05
    reconnect_max_s: float = 2.0
    max_connections: int = 4096
    max_unauthenticated: int = 64
    rpc_in_flight: int = 10_000
    rpc_timeout_s: float = 300.0

    def __post_init__(self) -> None:
        check_node_name(self.node)
        if self.role not in ROLES:
            raise ConfigurationError(
                f"role {self.role!r} is unknown: choose one of {', '.join(sorted(ROLES))}"
            )
        if self.secret is not None and not self.secret:
            raise ConfigurationError(
                "the cluster secret is empty: give one, or none at all for an open cluster"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another node, as it proved itself in the hello."""

    node: str
    role: str
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConnected(Peer):
    """A node became reachable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerDisconnected(Peer):
    """A node is no longer reachable; its connection ended, or a newer one took its place."""


PeerEvent = PeerConnected | PeerDisconnected


@dataclass(frozen=True, slots=True, kw_only=True)
class BusStats:
    """Counters since the start, and how things stand now (the last seven).

    `dead_letters` counts everything that `send` refused or that arrived for nobody; of these,
    `outbox_refused` met a full outbox, `expired` waited past their deadline and `misaddressed` carried a
    sender that their connection may not speak for. `peer_errors` says why a wanted peer cannot be
    reached, by its name.
    """

    sent: int = 0
    received: int = 0
    delivered: int = 0
    relayed: int = 0
    dead_letters: int = 0
    outbox_refused: int = 0
    expired: int = 0
    misaddressed: int = 0
    unknown_payloads: int = 0
    callback_errors: int = 0
    malformed: int = 0
    refused_hellos: int = 0
    refused_connections: int = 0
    timed_out_connections: int = 0
    rpc_calls: int = 0
    rpc_replies: int = 0
    rpc_refused: int = 0
    rpc_dropped: int = 0
    connections: int = 0
    unauthenticated: int = 0
    rpc_in_flight: int = 0
    queued_envelopes: int = 0
    queued_bytes: int = 0
    peers: tuple[str, ...] = ()
    peer_errors: Mapping[str, str] = field(default_factory=dict)


class Bus(Protocol):
    """One node's part of the bus. Every method is thread-safe and none blocks, but `start` and `close`."""

    @property
    def listen_port(self) -> int:
        """The TCP port on which peers and clients are accepted; 0 when there is none."""
        ...

    def start(self) -> None:
        """Listen and begin to dial. ConfigurationError when the address cannot be had."""
        ...

    def close(self, timeout_s: float = 5.0) -> None:
        """Send what is queued for connected peers, for at most `timeout_s`, then end everything."""
        ...

    def register(self, actor: str, deliver: Deliver) -> None:
        """Give `actor` a mailbox on this node, in place of any earlier one of that name.

        `deliver` runs in the sender's thread or in the bus's own, and must not block; what it raises
        is logged and counted.
        """
        ...

    def unregister(self, actor: str) -> None:
        """Take that mailbox away; unknown names are fine."""
        ...

    def send(
        self, destination: str, payload: object, *, sender: str = "", cause: str = "", deadline: float = 0.0
    ) -> bool:
        """Hand over (same node) or queue an envelope for `node/actor` or `leader/actor`.

        False, and counted as a dead letter, when there is no such actor, no way to that node, no
        known leader, a full outbox, or a payload that cannot travel. `sender` without a slash is an
        actor of this node. True promises nothing about arrival.
        """
        ...

    def reply(self, envelope: Envelope, payload: object) -> bool:
        """Send `payload` to the sender of `envelope`, as its effect."""
        ...

    def set_peers(self, peers: Mapping[str, str]) -> None:
        """The peers, by name with host:port, to dial and to keep dialled from now on."""
        ...

    def set_leader(self, name: str) -> None:
        """Which judicator `leader/…` means; empty when nobody leads."""
        ...

    def on_peer(self, listener: Callable[[PeerEvent], object]) -> Callable[[], None]:
        """Be told of peers that come and go, in the bus's own thread; call the answer to stop."""
        ...

    def peers(self) -> Mapping[str, Peer]:
        """The peers that are connected now, by name."""
        ...

    def stats(self) -> BusStats:
        """The counters, and how things stand."""
        ...
