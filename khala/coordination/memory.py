"""Membership and leadership in memory, for tests and simulation: the twin of the etcd one.

A `CoordinationHub` plays the service for any number of nodes. Time is the caller's: leases are
renewed, expire and are contended for only in `tick` (and at each change a node makes). A listener
runs in the thread that ticked or made the change, one call at a time. Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from khala.coordination.interface import ClusterView, Listener, Member, Registration
from khala.errors import Fault, Unavailable


@dataclass(slots=True)
class _Lease:
    member: Member
    expires_at: float


class CoordinationHub:
    """The service: what etcd would hold."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        """`clock` gives seconds and never goes back."""
        self.clock = clock
        self.lock = threading.RLock()
        self.leases: dict[MemoryCoordination, _Lease] = {}
        self.leader: MemoryCoordination | None = None
        self.registered: dict[str, Registration] = {}
        self.shared: dict[str, str] = {}
        self._nodes: list[MemoryCoordination] = []
        self._cut_off: set[MemoryCoordination] = set()
        self._available = True
        self._telling = False

    def tick(self) -> None:
        """Do all that is due now: expire, renew, put back, elect, tell."""
        with self.lock:
            now = self.clock()
            if self._available:
                for node in [node for node, lease in self.leases.items() if lease.expires_at <= now]:
                    self.withdraw(node)
                for node in self._nodes:
                    if self.reaches(node):
                        node.renew(now)
                self.elect()
            self.tell()

    def set_available(self, available: bool) -> None:
        """Stop or start the service for all. As with etcd, no lease runs out while it is down, and
        each has its whole lifetime again when it is back."""
        with self.lock:
            if available and not self._available:
                for node, lease in self.leases.items():
                    lease.expires_at = self.clock() + node.lease_ttl_s
            self._available = available
            self.tick()

    def cut_off(self, node: MemoryCoordination) -> None:
        """Cut one node's network to the service."""
        with self.lock:
            self._cut_off.add(node)
            self.tell()

    def rejoin(self, node: MemoryCoordination) -> None:
        """Undo `cut_off`; what the node lost is put back at once."""
        with self.lock:
            self._cut_off.discard(node)
            self.tick()

    def lose(self, node: MemoryCoordination) -> None:
        """Drop a node as by a crash: nobody renews its lease any more."""
        with self.lock:
            self.detach(node)

    def reaches(self, node: MemoryCoordination) -> bool:
        """Whether the node can talk to the service."""
        return self._available and node not in self._cut_off

    def attach(self, node: MemoryCoordination) -> None:
        """Count a node in, from its `start`."""
        self._nodes.append(node)

    def detach(self, node: MemoryCoordination) -> None:
        """Forget a node, but not its lease."""
        if node in self._nodes:
            self._nodes.remove(node)

    def withdraw(self, node: MemoryCoordination) -> None:
        """End a node's lease, and with it its membership and leadership."""
        self.leases.pop(node, None)
        if self.leader is node:
            self.leader = None

    def holder_of(self, member: Member) -> MemoryCoordination | None:
        """The node whose lease holds this member's role and name."""
        for node, lease in self.leases.items():
            if (lease.member.role, lease.member.name) == (member.role, member.name):
                return node
        return None

    def elect(self) -> None:
        """Give free leadership to the first who wants it."""
        for node in self._nodes:
            if self.leader is None and self.reaches(node) and node.wants_to_lead and node in self.leases:
                self.leader = node

    def tell(self) -> None:
        """Bring every node's view up to date; a change made by a listener is told by the same loop."""
        if self._telling:
            return
        self._telling = True
        try:
            news = True
            while news:
                news = False
                for node in list(self._nodes):
                    news |= node.see(self._view_for(node))
        finally:
            self._telling = False

    def _view_for(self, node: MemoryCoordination) -> ClusterView:
        if not self.reaches(node):
            last = node.view()
            return ClusterView(members=last.members, leader=last.leader, registered=last.registered)
        return ClusterView(
            members={(lease.member.role, lease.member.name): lease.member for lease in self.leases.values()},
            leader=self.leases[self.leader].member.name if self.leader else "",
            registered=dict(self.registered),
            connected=True,
        )


class MemoryCoordination:
    """One node's part. `lease_ttl_s` is the lifetime of its lease in seconds."""

    def __init__(self, hub: CoordinationHub, *, lease_ttl_s: float = 3.0) -> None:
        self.lease_ttl_s = lease_ttl_s
        self.wants_to_lead = False
        self._hub = hub
        self._member: Member | None = None
        self._listener: Listener | None = None
        self._view = ClusterView()
        self._renewed_at = 0.0
        self._leading = False
        self._resigned = False  # since the service last heard of this node

    def start(self, member: Member, listener: Listener) -> None:
        with self._hub.lock:
            if self._member is not None:
                raise Fault("coordination was started twice")
            self._demand_reachable()
            self._member, self._listener = member, listener
            namesake = self._hub.holder_of(member)
            if namesake is not None:
                self._hub.withdraw(namesake)
            self._hub.attach(self)
            self.renew(self._hub.clock())  # before the tick, in which an older namesake would be first
            self._hub.tick()

    def update(self, member: Member) -> None:
        with self._hub.lock:
            self._member = member
            if self in self._hub.leases and self._hub.reaches(self):
                self._hub.leases[self].member = member
            self._hub.tell()

    def register_judicator(self, name: str, registration: Registration) -> None:
        with self._hub.lock:
            self._demand_reachable()
            self._hub.registered[name] = registration
            self._hub.tell()

    def unregister_judicator(self, name: str) -> None:
        with self._hub.lock:
            self._demand_reachable()
            self._hub.registered.pop(name, None)
            self._hub.tell()

    def campaign(self) -> None:
        with self._hub.lock:
            self.wants_to_lead = True
            self._hub.tick()

    def resign(self) -> None:
        with self._hub.lock:
            self.wants_to_lead = False
            self._leading = False
            self._resigned = True
            self._hub.tick()

    def leads_until(self) -> float:
        with self._hub.lock:
            return self._renewed_at + self.lease_ttl_s if self._leading else 0.0

    def lease_until(self) -> float:
        with self._hub.lock:
            return self._renewed_at + self.lease_ttl_s if self in self._hub.leases else 0.0

    def view(self) -> ClusterView:
        with self._hub.lock:
            return self._view

    def shared(self, key: str, value: str) -> str:
        with self._hub.lock:
            self._demand_reachable()
            return self._hub.shared.setdefault(key, value)

    def close(self) -> None:
        with self._hub.lock:
            self.wants_to_lead = False
            self._leading = False
            if self._hub.reaches(self):
                self._hub.withdraw(self)
            self._hub.detach(self)
            self._hub.tick()

    def renew(self, now: float) -> None:
        """The hub's: keep the lease, or publish again under a new one."""
        assert self._member is not None
        if self._hub.leader is self and self._resigned:
            self._hub.leader = None
        self._resigned = False
        if self._hub.holder_of(self._member) not in (self, None):
            return  # a newer process of this name is there: the name is its
        self._hub.leases[self] = _Lease(self._member, now + self.lease_ttl_s)
        self._renewed_at = now

    def see(self, view: ClusterView) -> bool:
        """The hub's: take over a view and tell the listener; whether it was new."""
        if view.connected:
            self._leading = self._hub.leader is self
        if view == self._view:
            return False
        self._view = view
        if self._listener is not None:
            self._listener(view)
        return True

    def _demand_reachable(self) -> None:
        if not self._hub.reaches(self):
            raise Unavailable("coordination cannot be reached")
