"""The bus over Thrift: one port, one selector thread, one bounded outbox for each peer (P14).

Owns the reactor, the listener, the channels and the links. `send` encodes in the caller's thread and
queues; all else happens in the reactor's thread, which also calls mailboxes and listeners. Nothing here
waits, but `start` and `close`.
"""

from __future__ import annotations

import itertools
import random
import socket
import threading
import time
from collections.abc import Mapping

from khala.bus.channel import Channel, ChannelLimits, Ending
from khala.bus.codec import Codec
from khala.bus.connection import (
    AcceptedConnection,
    Called,
    Connection,
    DialledConnection,
    EnvelopesDelivered,
    Event,
    HelloRefused,
    Opened,
)
from khala.bus.envelope import RPC, Envelope, check_node_name, node_of
from khala.bus.handshake import Identity
from khala.bus.interface import CLIENT, BusSettings, BusStats, Peer
from khala.bus.links import Links
from khala.bus.listener import Listener, open_listener
from khala.bus.peering import Peering
from khala.bus.reactor import Reactor
from khala.bus.routed import RoutedBus
from khala.bus.rpc_server import RpcServer
from khala.bus.wire import FRAME_OVERHEAD_BYTES
from khala.errors import Refusal

DRAIN_STEP_S = 0.01
UNREAD_FRAMES = 8


class ThriftBus(RoutedBus):
    """See `khala.bus.interface.Bus`; it serves the public RPC on the same port."""

    def __init__(self, settings: BusSettings, *, rng: random.Random | None = None) -> None:
        super().__init__(settings)
        self._codec = Codec(max_frame_bytes=settings.max_frame_bytes)
        self._identity = Identity(
            node=settings.node,
            role=settings.role,
            incarnation=settings.incarnation,
            cluster_id=settings.cluster_id,
            secret=settings.secret,
        )
        self._limits = ChannelLimits(
            hello_timeout_s=settings.hello_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
            client_idle_timeout_s=settings.client_idle_timeout_s,
            keep_alive_s=settings.keep_alive_s,
            max_outgoing_bytes=2 * UNREAD_FRAMES * settings.max_frame_bytes,
            max_frame_bytes=settings.max_frame_bytes,
        )
        self._tick_s = min(settings.hello_timeout_s, settings.idle_timeout_s, settings.keep_alive_s, 2.0) / 4
        self._reactor = Reactor(
            f"khala-bus-{settings.node}", on_error=lambda: self._counters.add("callback_errors")
        )
        self._rpc = RpcServer(
            self._reactor,
            self._codec,
            self._counters,
            self._ids,
            node=settings.node,
            deliver=self._deliver,
            max_in_flight=settings.rpc_in_flight,
            max_frame_bytes=settings.max_frame_bytes,
            max_unread_bytes=UNREAD_FRAMES * settings.max_frame_bytes,
            timeout_s=settings.rpc_timeout_s,
        )
        self._links = Links(max_envelopes=settings.outbox_envelopes, max_bytes=settings.outbox_bytes)
        self._peering = Peering(
            self._reactor,
            settings,
            self._links,
            dial=self._dial,
            lost=lambda number: self._counters.add("dead_letters", number),
            rng=rng or random.Random(),
        )
        self._listener: Listener | None = None
        self._channels: dict[str, Channel] = {}
        self._channel_count = itertools.count(1)
        self._started = False
        self._closing = False
        self._drained = threading.Event()

    # --- the public interface, documented in khala.bus.interface --------------------------------

    @property
    def listen_port(self) -> int:
        return self._listener.port if self._listener is not None else 0

    def start(self) -> None:
        if self._settings.listen is not None:
            self._listener = Listener(
                self._reactor,
                open_listener(*self._settings.listen),
                max_unauthenticated=self._settings.max_unauthenticated,
                has_room=lambda: len(self._channels) < self._settings.max_connections,
                accepted=self._accepted,
                refused=lambda: self._counters.add("refused_connections"),
            )
            self._reactor.call_soon(self._listener.begin)
        self._reactor.call_soon(self._tick)
        self._started = True
        self._reactor.start()

    def close(self, timeout_s: float = 5.0) -> None:
        if self._closing:
            return
        self._closing = True
        if self._started:
            self._reactor.call_soon(self._begin_close)
            self._drained.wait(timeout_s)
            self._reactor.call_soon(self._end)
            self._reactor.join(max(timeout_s, 1.0))
        else:
            self._reactor.stop(0.0)

    def set_peers(self, peers: Mapping[str, str]) -> None:
        for name in peers:
            check_node_name(name)
        self._peering.want({name: address for name, address in peers.items() if name != self._node})

    def stats(self) -> BusStats:
        links = tuple(self._links)
        waiting = [link.outbox.waiting for link in links]
        return self._counters.snapshot(
            connections=len(self._channels),
            unauthenticated=len(self._listener.strangers) if self._listener is not None else 0,
            rpc_in_flight=self._rpc.in_flight,
            queued_envelopes=sum(envelopes for envelopes, _ in waiting),
            queued_bytes=sum(size for _, size in waiting),
            peers=tuple(sorted(self._peers)),
            peer_errors={link.node: link.error for link in links if link.address and link.error},
        )

    # --- what the channels say (ChannelOwner) ------------------------------------------------------

    def on_event(self, channel: Channel, event: Event) -> None:
        peer = channel.connection.peer
        match event:
            case EnvelopesDelivered() if peer is not None:
                self._receive(peer, event.envelopes)
            case Called():
                self._rpc.handle_called(channel, event)
            case Opened():
                self._opened(channel, event.peer)
            case HelloRefused():
                self._counters.add("refused_hellos")
                self._log.warning("hello refused", reason=event.detail)
            case _:
                channel.close("an answer to a call that was never made", Ending.MALFORMED)

    def on_sent(self, envelopes: int, expired: int) -> None:
        if expired:
            self._counters.add("expired", expired)
            self._counters.add("dead_letters", expired)

    def on_closed(self, channel: Channel, reason: str, ending: Ending) -> None:
        self._channels.pop(channel.id, None)
        self._rpc.remove(channel)
        if self._listener is not None:
            self._listener.forget(channel)
        if ending is Ending.MALFORMED:
            self._counters.add("malformed")
        elif ending is Ending.TIMED_OUT:
            self._counters.add("timed_out_connections")
        peer = channel.connection.peer
        self._log.debug("connection closed", peer=peer.node if peer else "", reason=reason)
        if self._peering.detach(channel, reason):
            self._disconnected(peer)

    # --- routing ------------------------------------------------------------------------------------

    def _post(self, envelope: Envelope) -> bool:
        if self._closing:
            return self._dead(envelope)
        if node_of(envelope.destination) == RPC:
            return self._rpc.reply(envelope)
        return super()._post(envelope)

    def _is_wanted(self, node: str) -> bool:
        link = self._links.get(node)
        return link is not None and bool(link.address)

    def _transmit(self, node: str, envelope: Envelope) -> bool:
        link = self._links.get(node)
        if link is None:
            return False
        try:
            encoded = self._codec.encode_envelope(envelope)
        except Refusal as refusal:
            self._log.error(
                "an envelope cannot travel", destination=envelope.destination, reason=refusal.detail
            )
            return False
        if len(encoded) + FRAME_OVERHEAD_BYTES > self._settings.max_frame_bytes:
            self._log.error("an envelope is too large", destination=envelope.destination, bytes=len(encoded))
            return False
        if not link.outbox.put(encoded, envelope.deadline):
            self._counters.add("outbox_refused")
            return False
        if not link.flush_is_due:
            link.flush_is_due = True
            self._reactor.call_soon(link.flush)
        return True

    # --- connections, in the reactor's thread ----------------------------------------------------

    def _accepted(self, sock: socket.socket) -> Channel:
        connection = AcceptedConnection(
            self._codec, self._identity, max_frame_bytes=self._settings.max_frame_bytes
        )
        return self._new_channel(sock, connection, connecting=False)

    def _new_channel(self, sock: socket.socket, connection: Connection, *, connecting: bool) -> Channel:
        channel = Channel(
            self._reactor,
            sock,
            connection,
            self,
            id=f"{self._ids.prefix}-{next(self._channel_count)}",
            limits=self._limits,
            connecting=connecting,
        )
        self._channels[channel.id] = channel
        return channel

    def _opened(self, channel: Channel, peer: Peer) -> None:
        if self._listener is not None:
            self._listener.forget(channel)
        if isinstance(channel.connection, AcceptedConnection):
            self._rpc.add(channel, channel.connection, peer)
        if peer.role == CLIENT:
            return
        if peer.node == self._node:
            self._log.error("another node has this one's name: give each node its own", peer=peer.incarnation)
            channel.close("it has this node's own name")
            return
        self._peering.attach(channel, peer)
        self._connected(peer)
        channel.flush_soon()

    def _dial(self, sock: socket.socket, name: str) -> Channel:
        connection = DialledConnection(
            self._codec, self._identity, max_frame_bytes=self._settings.max_frame_bytes, expected=name
        )
        return self._new_channel(sock, connection, connecting=True)

    # --- time and the end, in the reactor's thread -------------------------------------------------

    def _tick(self) -> None:
        now = time.monotonic()
        for channel in tuple(self._channels.values()):
            channel.check(now)
        self._rpc.expire(now)
        self._reactor.call_later(self._tick_s, self._tick)

    def _begin_close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._peering.stop()
        self._drain()

    def _drain(self) -> None:
        queued = any(link.outbox.waiting[0] for link in self._links if link.channel is not None)
        if queued or any(channel.connection.outgoing.size for channel in self._channels.values()):
            self._reactor.call_later(DRAIN_STEP_S, self._drain)
        else:
            self._drained.set()

    def _end(self) -> None:
        for channel in tuple(self._channels.values()):
            channel.close("this node closes")
        self._reactor.stop(0.0)
