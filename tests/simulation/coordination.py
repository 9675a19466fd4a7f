"""The simulated etcd: leases, and a leader's key that falls with its holder's lease.

A node's own clock decides until when it may count on its lease: from the moment at which it *sent* its
last answered renewal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation.node import Node

if TYPE_CHECKING:
    from simulation.world import World

LEADER_LEASE_S = 3.0
EXECUTOR_LEASE_S = 6.0


@dataclass(frozen=True, slots=True)
class Beat:
    """A node renews its lease and asks for the view."""

    role: str
    incarnation: str
    sent_at_s: float
    campaigns: bool = False
    resigns: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What etcd knows: live executors' incarnations and the leader, or an empty name.

    `sent_at_s` is the node's own clock when it sent the Beat that this answers.
    """

    executors: dict[str, str]
    leader: str
    sent_at_s: float


@dataclass(slots=True)
class Lease:
    """One node's lease."""

    role: str
    incarnation: str
    ends_s: float


class Coordination(Node):
    """etcd as one node; its memory survives everything, and `away` makes it answer nobody."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "etcd")
        self.leases: dict[str, Lease] = {}
        self.leader = ""
        self.away = False
        self._heard_s: dict[str, float] = {}

    def receive(self, sender: str, message: object) -> None:
        """Renew and answer; a stream does not overtake itself, so older requests are none."""
        if not isinstance(message, Beat) or self.away:
            return
        if message.sent_at_s < self._heard_s.get(sender, 0.0):
            return
        self._heard_s[sender] = message.sent_at_s
        self._expire()
        lease_s = EXECUTOR_LEASE_S if message.role == "executor" else LEADER_LEASE_S
        self.leases[sender] = Lease(message.role, message.incarnation, self.clockwork.now_s + lease_s)
        if message.resigns and self.leader == sender:
            self.leader = ""
        if message.campaigns and not self.leader:
            self.leader = sender
        executors = {name: each.incarnation for name, each in self.leases.items() if each.role == "executor"}
        self.send(sender, View(executors, self.leader, message.sent_at_s))

    def depose(self) -> None:
        """Take the leader's key away, as an operator or a wiped etcd does."""
        self.leader = ""

    def withdraw(self, name: str) -> None:
        """A node that ends in order revokes its lease."""
        self.leases.pop(name, None)
        self._expire()

    def return_with(self, *, extended: bool) -> None:
        """Come back after a gap: as a new etcd leader does, which extends leases, or without it."""
        self.away = False
        if extended:
            for lease in self.leases.values():
                lease_s = EXECUTOR_LEASE_S if lease.role == "executor" else LEADER_LEASE_S
                lease.ends_s = max(lease.ends_s, self.clockwork.now_s + lease_s)

    def _expire(self) -> None:
        for name in [name for name, lease in self.leases.items() if lease.ends_s < self.clockwork.now_s]:
            del self.leases[name]
        if self.leader not in self.leases:
            self.leader = ""
