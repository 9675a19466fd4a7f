"""What every implementation of the bus shares: mailboxes, addresses, relays, listeners, counters.

Decides where an envelope goes; how it gets there is the subclass's. An envelope is relayed at most
once (P13): it came directly exactly when its sender's node is the peer that brought it. Only a
judicator relays, and only a judicator may bring what another node sent.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import structlog

from khala.bus.counters import Counters
from khala.bus.envelope import LEADER, Envelope, EnvelopeIds, UnknownPayload, actor_of, node_of
from khala.bus.interface import (
    JUDICATOR,
    BusSettings,
    Deliver,
    Peer,
    PeerConnected,
    PeerDisconnected,
    PeerEvent,
)
from khala.bus.mailboxes import Mailboxes

MAX_RELAYS = 10_000


class RoutedBus(ABC):
    """Routing over an abstract way to other nodes."""

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._node = settings.node
        self._log = structlog.get_logger("khala.bus").bind(node=settings.node)
        self._counters = Counters()
        self._ids = EnvelopeIds()
        self._mailboxes = Mailboxes(on_error=lambda: self._counters.add("callback_errors"))
        self._leader = ""
        self._peers: dict[str, Peer] = {}
        self._listeners: tuple[Callable[[PeerEvent], object], ...] = ()
        self._listeners_lock = threading.Lock()
        self._relays: OrderedDict[str, str] = OrderedDict()

    # --- the public interface, documented in khala.bus.interface --------------------------------

    def register(self, actor: str, deliver: Deliver) -> None:
        self._mailboxes.register(actor, deliver)

    def unregister(self, actor: str) -> None:
        self._mailboxes.unregister(actor)

    def send(
        self, destination: str, payload: object, *, sender: str = "", cause: str = "", deadline: float = 0.0
    ) -> bool:
        return self._post(
            Envelope(
                id=self._ids.next(),
                sender=sender if "/" in sender else f"{self._node}/{sender}",
                destination=destination,
                cause=cause,
                deadline=deadline,
                payload=payload,
            )
        )

    def reply(self, envelope: Envelope, payload: object) -> bool:
        return self.send(envelope.sender, payload, sender=actor_of(envelope.destination), cause=envelope.id)

    def set_leader(self, name: str) -> None:
        self._leader = name

    def on_peer(self, listener: Callable[[PeerEvent], object]) -> Callable[[], None]:
        with self._listeners_lock:
            self._listeners = (*self._listeners, listener)

        def forget() -> None:
            with self._listeners_lock:
                self._listeners = tuple(other for other in self._listeners if other is not listener)

        return forget

    def peers(self) -> Mapping[str, Peer]:
        return dict(self._peers)

    # --- for the subclass ------------------------------------------------------------------------

    @abstractmethod
    def _transmit(self, node: str, envelope: Envelope) -> bool:
        """Put the envelope on its way to a node that is connected or wanted; False when it cannot be."""

    @abstractmethod
    def _is_wanted(self, node: str) -> bool:
        """Whether this node keeps dialling that one."""

    def _post(self, envelope: Envelope) -> bool:
        """Send what an actor of this node sends."""
        node = self._resolve(node_of(envelope.destination))
        if node == self._node:
            return self._deliver(envelope)
        hop = self._first_hop(node)
        if not hop or not self._transmit(hop, envelope):
            return self._dead(envelope)
        self._counters.add("sent")
        return True

    def _receive(self, peer: Peer, envelopes: Sequence[Envelope]) -> None:
        """Take what a peer brought."""
        self._counters.add("received", len(envelopes))
        for envelope in envelopes:
            origin = node_of(envelope.sender)
            direct = origin == peer.node
            if isinstance(envelope.payload, UnknownPayload):
                self._counters.add("unknown_payloads")
            elif not direct and peer.role != JUDICATOR:
                self._counters.add("misaddressed")
                self._dead(envelope)
            else:
                self._note_relay(origin, peer, direct)
                self._pass_on(envelope, direct)

    def _connected(self, peer: Peer) -> None:
        """A peer is reachable; tells the listeners, of the end of an older connection first."""
        self._disconnected(self._peers.get(peer.node))
        self._peers[peer.node] = peer
        self._tell(PeerConnected(node=peer.node, role=peer.role, incarnation=peer.incarnation))

    def _disconnected(self, peer: Peer | None) -> None:
        """A peer is no longer reachable."""
        if peer is not None and self._peers.get(peer.node) is peer:
            del self._peers[peer.node]
            self._tell(PeerDisconnected(node=peer.node, role=peer.role, incarnation=peer.incarnation))

    def _dead(self, envelope: Envelope) -> bool:
        self._counters.add("dead_letters")
        self._log.debug(
            "dead letter", destination=envelope.destination, payload=type(envelope.payload).__name__
        )
        return False

    def _deliver(self, envelope: Envelope) -> bool:
        if not self._mailboxes.deliver(actor_of(envelope.destination), envelope):
            return self._dead(envelope)
        self._counters.add("delivered")
        return True

    # --- routes ------------------------------------------------------------------------------------

    def _resolve(self, node: str) -> str:
        return self._leader if node == LEADER else node

    def _first_hop(self, node: str) -> str:
        """Straight if possible, else the way that its last envelope came, else by another judicator for
        a judicator that should be reachable and is not (P13), else wait for it if it is wanted."""
        if not node or node in self._peers:
            return node
        relay = self._relays.get(node, "")
        if relay in self._peers:
            return relay
        wanted = self._is_wanted(node)
        if wanted or node == self._leader:
            for peer in tuple(self._peers.values()):
                if peer.role == JUDICATOR:
                    return peer.node
        return node if wanted else ""

    def _pass_on(self, envelope: Envelope, direct: bool) -> None:
        node = self._resolve(node_of(envelope.destination))
        if node == self._node:
            self._deliver(envelope)
        elif (
            direct
            and self._settings.role == JUDICATOR
            and (node in self._peers or self._is_wanted(node))
            and self._transmit(node, envelope)
        ):
            self._counters.add("relayed")
        else:
            self._dead(envelope)

    def _note_relay(self, origin: str, peer: Peer, direct: bool) -> None:
        if direct:
            if self._relays:
                self._relays.pop(origin, None)
        else:
            self._relays[origin] = peer.node
            self._relays.move_to_end(origin)
            if len(self._relays) > MAX_RELAYS:
                self._relays.popitem(last=False)

    def _tell(self, event: PeerEvent) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - whatever a listener raises stays here
                self._log.exception("a listener for peers failed")
                self._counters.add("callback_errors")
