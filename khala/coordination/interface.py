"""The contract of membership and leadership; `tests/coordination` holds both implementations to it.

Level, not edge: a listener gets whole `ClusterView`s and finds out for itself what changed, so a
lost watch event costs latency and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One live node: present as long as its lease is.

    `role` is judicator, executor or gateway; `address` is host:port of a judicator's bus, or empty.
    `incarnation` is new for each start of the process. `details` is small and free.
    """

    name: str
    role: str
    incarnation: str
    address: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A judicator that belongs to the cluster, live or not (P19).

    `address` is its bus, `mongod` its member of the replica set, both host:port; `etcd` is the name of
    its etcd member, `etcd_client` the URL at which clients reach that. `leaving`: it is being removed.
    """

    address: str
    mongod: str = ""
    etcd: str = ""
    etcd_client: str = ""
    leaving: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """What coordination knows. `members` is keyed by (role, name).

    `connected` is false while the service cannot be read; the rest is then the last known.
    `leader` is the leading judicator's name, or empty. `registered` has the judicators that belong to
    the cluster, live or not, by name.
    """

    members: Mapping[tuple[str, str], Member] = field(default_factory=dict)
    leader: str = ""
    registered: Mapping[str, Registration] = field(default_factory=dict)
    connected: bool = False


Listener = Callable[[ClusterView], None]


class Coordination(Protocol):
    """One node's part in membership and leadership. Thread-safe; the listener is called from the
    implementation's own thread, one call at a time, after `start` and on every change (also of
    `connected`), must return quickly and must not raise."""

    def start(self, member: Member, listener: Listener) -> None:
        """Publish `member` under a lease of `lease_ttl_s` seconds (as granted), keep both alive, and
        put them back when the service lost them. Returns once published, or raises Unavailable, or
        ConfigurationError when the service refuses this node's secret (P17)."""
        ...

    def update(self, member: Member) -> None:
        """Publish changed details of the same node."""
        ...

    def register_judicator(self, name: str, registration: Registration) -> None:
        """Record a judicator as belonging to the cluster until it is unregistered (P19)."""
        ...

    def unregister_judicator(self, name: str) -> None:
        """Remove that record."""
        ...

    def campaign(self) -> None:
        """Want to lead from now on: take leadership when it is free. Idempotent."""
        ...

    def resign(self) -> None:
        """Give up leadership, if held, and stop wanting it until `campaign` is called again."""
        ...

    def leads_until(self) -> float:
        """Until when, on CLOCK_BOOTTIME in seconds, this node may act as the leader: the start of its
        last successful lease renewal plus the granted lifetime, while it holds the leader key; 0.0
        otherwise. The node's own clock alone decides (no answer is never taken as good news)."""
        ...

    def lease_until(self) -> float:
        """Until when, on CLOCK_BOOTTIME in seconds, this node's own lease surely holds, reckoned as
        `leads_until`; 0.0 while it has none."""
        ...

    def view(self) -> ClusterView:
        """The latest view."""
        ...

    def shared(self, key: str, value: str) -> str:
        """Store `value` under a cluster-wide `key` unless it has one; return the one it has."""
        ...

    def close(self) -> None:
        """Withdraw: give up leadership, revoke the lease (the node leaves at once), end threads."""
        ...


class EtcdAdmin(Protocol):
    """The servers behind coordination (P19). Thread-safe; blocks; raises Unavailable."""

    def names(self) -> Sequence[str]:
        """Every server that belongs, running or not."""
        ...

    def remove(self, name: str) -> bool:
        """Take a server out; false when it was not there."""
        ...
