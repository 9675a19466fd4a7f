"""The bus in memory: an exact twin of the Thrift bus for tests and simulation.

Every envelope is still encoded and decoded and every connection says hello, but there is no socket and
no thread: mailboxes and listeners run in whichever thread pumps the network.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping

from khala.bus.codec import Codec
from khala.bus.envelope import Envelope, check_node_name
from khala.bus.handshake import Identity, answer_challenge, check_hello, check_welcome, make_challenge
from khala.bus.interface import BusSettings, BusStats
from khala.bus.loopback_network import LoopbackNetwork
from khala.bus.outbox import Outbox
from khala.bus.routed import RoutedBus
from khala.errors import Refusal

UNBOUNDED = sys.maxsize


class LoopbackBus(RoutedBus):
    """See `khala.bus.interface.Bus`. Deadlines are not looked at: its clock is not the world's."""

    def __init__(self, network: LoopbackNetwork, settings: BusSettings) -> None:
        super().__init__(settings)
        self._network = network
        self._codec = Codec(max_frame_bytes=settings.max_frame_bytes)
        self._identity = Identity(
            node=settings.node,
            role=settings.role,
            incarnation=settings.incarnation,
            cluster_id=settings.cluster_id,
            secret=settings.secret,
        )
        self._lock = threading.Lock()
        self._outboxes: dict[str, Outbox] = {}
        self._errors: dict[str, str] = {}
        self._closed = False
        self.wanted: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """This node's name."""
        return self._node

    @property
    def listen_port(self) -> int:
        return 0

    def start(self) -> None:
        self._network.join(self)

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends at once: what was not pumped is lost, as it may be."""
        if not self._closed:
            self._closed = True
            self._network.leave(self)

    def set_peers(self, peers: Mapping[str, str]) -> None:
        for name in peers:
            check_node_name(name)
        with self._lock:
            self.wanted = tuple(sorted(set(peers) - {self._node}))
            for name in self.wanted:
                self._ensure(name)
        self._network.wake.set()

    def stats(self) -> BusStats:
        waiting = [outbox.waiting for outbox in tuple(self._outboxes.values())]
        return self._counters.snapshot(
            connections=len(self._peers),
            queued_envelopes=sum(envelopes for envelopes, _ in waiting),
            queued_bytes=sum(size for _, size in waiting),
            peers=tuple(sorted(self._peers)),
            peer_errors={name: error for name, error in self._errors.items() if name in self.wanted},
        )

    # --- for the network, in the thread that pumps -------------------------------------------------

    def greet(self, other: LoopbackBus) -> bool:
        """Say hello to another bus, as over a wire; whether both agreed."""
        try:
            challenge = make_challenge(other._identity)
            hello = answer_challenge(self._identity, challenge)
            peer, welcome = check_hello(other._identity, challenge, hello)
            server = check_welcome(self._identity, challenge, hello, welcome, other.name)
        except Refusal as refusal:
            if self._errors.get(other.name) != refusal.detail:
                self._errors[other.name] = refusal.detail
                self._counters.add("refused_hellos")
            return False
        self._errors.pop(other.name, None)
        for bus, end in ((other, peer), (self, server)):
            with bus._lock:
                bus._ensure(end.node)
            bus._connected(end)
        return True

    def lose(self, node: str) -> None:
        """The connection to a node ended."""
        self._disconnected(self._peers.get(node))
        with self._lock:
            if node not in self.wanted and node in self._outboxes:
                self._counters.add("dead_letters", self._outboxes.pop(node).close())

    def take_off(self) -> None:
        """Put what waits for connected peers on its way."""
        for node in tuple(self._peers):
            batch, _expired = self._outboxes[node].take(UNBOUNDED, 0.0)
            for encoded in batch:
                self._network.take_off(self, node, encoded)

    def land(self, source: str, encoded: bytes) -> None:
        """An envelope arrives."""
        peer = self._peers.get(source)
        if peer is not None:
            self._receive(peer, (self._codec.decode_envelope(encoded),))

    # --- routing -------------------------------------------------------------------------------------

    def _post(self, envelope: Envelope) -> bool:
        return self._dead(envelope) if self._closed else super()._post(envelope)

    def _is_wanted(self, node: str) -> bool:
        return node in self.wanted

    def _transmit(self, node: str, envelope: Envelope) -> bool:
        outbox = self._outboxes.get(node)
        if outbox is None:
            return False
        try:
            encoded = self._codec.encode_envelope(envelope)
        except Refusal as refusal:
            self._log.error(
                "an envelope cannot travel", destination=envelope.destination, reason=refusal.detail
            )
            return False
        if len(encoded) > self._settings.max_frame_bytes:
            self._log.error("an envelope is too large", destination=envelope.destination, bytes=len(encoded))
            return False
        if not outbox.put(encoded, 0.0):
            self._counters.add("outbox_refused")
            return False
        self._network.wake.set()
        return True

    def _ensure(self, node: str) -> None:
        if node not in self._outboxes:
            self._outboxes[node] = Outbox(
                max_envelopes=self._settings.outbox_envelopes, max_bytes=self._settings.outbox_bytes
            )
