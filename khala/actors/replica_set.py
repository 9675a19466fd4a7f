"""Watches the MongoDB replica set, and holds it against the registered judicators (P19).

It only tells the difference: to the front door, which shows it, and to the log. Changing the members
is not built yet. Its thread blocks in the store; nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from khala.actors.actor import NodeActor, Stage
from khala.actors.messages import ReplicaSetChecked, Tick, ViewChanged, ViewWanted
from khala.bus.envelope import Envelope
from khala.coordination.interface import ClusterView
from khala.errors import Unavailable
from khala.store.interface import ReplicaHealth, ReplicaSetAdmin

MONGOD = "mongod"
"""The detail in which a judicator publishes its mongod's host:port, as the replica set knows it."""
ABSENT = "absent"


class ReplicaSet(NodeActor):
    """Checks at every tick; a few seconds apart is enough."""

    def __init__(self, stage: Stage, *, admin: ReplicaSetAdmin) -> None:
        super().__init__(stage, "replica-set")
        self._admin = admin
        self._view = ClusterView()
        self._said = ""

    def begin(self) -> None:
        """Ask who is registered."""
        self.tell("membership", ViewWanted())

    def handle_view_changed(self, seen: ViewChanged, envelope: Envelope) -> None:
        """Who is registered now."""
        self._view = seen.view

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """Ask the replica set, and compare."""
        try:
            members = self._admin.health()
        except Unavailable as why:
            self._say(f"the replica set has no primary: {why}")
            self.tell("judicator", ReplicaSetChecked({}, writable=False))
            return
        states, surplus = compare(members, self._view)
        absent = [name for name, state in states.items() if state == ABSENT]
        parts = [f"no members: {', '.join(absent)}"] if absent else []
        parts += [f"members of no registered judicator: {', '.join(surplus)}"] if surplus else []
        self._say("; ".join(parts))
        self.tell("judicator", ReplicaSetChecked(states, writable=True))

    def _say(self, difference: str) -> None:
        """Log what is wrong, when it changes."""
        if difference != self._said:
            self._said = difference
            if difference:
                self.log.warning("replica set and judicators differ", difference=difference)
            else:
                self.log.info("replica set and judicators agree")


def compare(members: Sequence[ReplicaHealth], view: ClusterView) -> tuple[Mapping[str, str], list[str]]:
    """The state of each registered judicator's member (`absent`: it has none), and the hosts of members
    that are no registered judicator's.

    A live judicator says which member is its own; for another one a member of the same host counts
    that no other judicator has claimed.
    """
    if not view.registered:
        return {}, []
    unclaimed = {member.host: member for member in members}
    states: dict[str, str] = {}
    for name in view.registered:
        live = view.members.get(("judicator", name))
        mine = unclaimed.pop(live.details.get(MONGOD, ""), None) if live is not None else None
        if mine is not None:
            states[name] = mine.state
    for name, address in sorted(view.registered.items()):
        if name not in states:
            host = next((host for host in sorted(unclaimed) if _host(host) == _host(address)), "")
            states[name] = unclaimed.pop(host).state if host else ABSENT
    return states, sorted(unclaimed)


def _host(address: str) -> str:
    return address.rpartition(":")[0]
