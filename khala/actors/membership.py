"""Every node's link to the cluster: tells its actors who lives and who leads.

The node publishes itself before and after (`khala.node`); coordination's own thread sends each new
`ClusterView` here. The actor points the bus at the leader, keeps its peers dialled, and passes the
view on to the actors that listen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from khala.actors.actor import NodeActor, Stage
from khala.actors.messages import ViewChanged, ViewWanted
from khala.bus.envelope import Envelope, is_node_name
from khala.coordination.interface import ClusterView, Coordination

CUT_OFF = "cut_off"
"""The detail in which an executor publishes that it reaches no judicator: nothing is given to it (P13)."""
PeersOf = Callable[[ClusterView], Mapping[str, str]]


class Membership(NodeActor):
    """`peers_of` tells from a view whom this node dials (name to host:port)."""

    def __init__(
        self,
        stage: Stage,
        *,
        coordination: Coordination,
        listeners: Sequence[str],
        peers_of: PeersOf,
    ) -> None:
        super().__init__(stage, "membership")
        self._coordination = coordination
        self._listeners = listeners
        self._peers_of = peers_of
        self._last = ViewChanged(ClusterView())

    def begin(self) -> None:
        """Start from what coordination knows already."""
        self.tell(self.name, self._coordination.view())

    def handle_cluster_view(self, view: ClusterView, envelope: Envelope) -> None:
        """A new view: the bus first, so that whoever acts on it can send. A name that the bus cannot
        carry is somebody else's mistake, and no reason to fail."""
        gap = view.connected and not self._last.view.connected
        self._last = ViewChanged(view, gap=gap)
        self.stage.bus.set_leader(view.leader)
        peers = self._peers_of(view)
        self.stage.bus.set_peers({name: peers[name] for name in peers if is_node_name(name)})
        for listener in self._listeners:
            self.tell(listener, self._last)

    def handle_view_wanted(self, wanted: ViewWanted, envelope: Envelope) -> None:
        """An actor was started again and needs to know."""
        self.stage.bus.reply(envelope, self._last)
