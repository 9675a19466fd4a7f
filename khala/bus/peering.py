"""Which connections lead to which peer: dials the wanted ones, attaches what opened, detaches what
closed. Runs in the reactor's thread, but for `want`.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from khala.bus.channel import Channel
from khala.bus.dialer import Dialer
from khala.bus.interface import BusSettings, Peer
from khala.bus.links import Link, Links
from khala.bus.reactor import Reactor


class Peering:
    """`dial(socket, name)` makes a channel on which `name` must answer; `lost(number)` counts the
    envelopes that waited for a peer which will not come back."""

    def __init__(
        self,
        reactor: Reactor,
        settings: BusSettings,
        links: Links,
        *,
        dial: Callable[[socket.socket, str], Channel],
        lost: Callable[[int], object],
        rng: random.Random,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._links = links
        self._dial = dial
        self._lost = lost
        self._rng = rng
        self._log = structlog.get_logger("khala.bus").bind(node=settings.node)
        self._dialled: dict[Channel, Link] = {}
        self._stopped = False

    def want(self, peers: Mapping[str, str]) -> None:
        """Dial exactly these peers from now on. Any thread; what is sent to them may queue at once."""
        self._links.want(peers)
        self._reactor.call_soon(self._apply)

    def attach(self, channel: Channel, peer: Peer) -> None:
        """A connection said hello: it is now the way to that peer, in place of any older one."""
        link, older = self._links.attach(channel, peer)
        if channel in self._dialled and link.dialer is not None:
            link.dialer.opened()
        if older is not None:
            older.close("replaced by a newer connection")

    def detach(self, channel: Channel, reason: str) -> bool:
        """A connection closed; whether it was the way to its peer. Dials again what is wanted."""
        peer = channel.connection.peer
        link = self._links.get(peer.node) if peer is not None else None
        was_the_way = link is not None and link.channel is channel
        if link is not None and was_the_way:
            link.channel = None
            self._lost(self._links.prune(link))
            if link.dialer is not None:
                link.dialer.dial()
        dialled = self._dialled.pop(channel, None)
        if dialled is not None:
            self._note_failure(dialled, reason)
            if dialled.dialer is not None:
                dialled.dialer.ended()
        return was_the_way

    def stop(self) -> None:
        """Dial no more."""
        self._stopped = True
        for link in self._links:
            if link.dialer is not None:
                link.dialer.stop()

    def _apply(self) -> None:
        for link in self._links:
            if not link.address:
                self._forget(link)
            elif link.dialer is None and not self._stopped:
                link.dialer = self._new_dialer(link)
                link.dialer.dial()

    def _forget(self, link: Link) -> None:
        if link.dialer is not None:
            link.dialer.stop()
            link.dialer = None
        for channel in [channel for channel, dialled in self._dialled.items() if dialled is link]:
            channel.close("no longer wanted")
        self._lost(self._links.prune(link))

    def _new_dialer(self, link: Link) -> Dialer:
        return Dialer(
            self._reactor,
            lambda: [link.address],
            needed=lambda: link.channel is None,
            connect=partial(self._connect, link),
            failed=partial(self._note_failure, link),
            rng=self._rng,
            min_s=self._settings.reconnect_min_s,
            max_s=self._settings.reconnect_max_s,
        )

    def _connect(self, link: Link, sock: socket.socket) -> None:
        self._dialled[self._dial(sock, link.node)] = link

    def _note_failure(self, link: Link, reason: str) -> None:
        if reason != link.error and link.channel is None and link.address and not self._stopped:
            self._log.warning("a peer cannot be reached", peer=link.node, address=link.address, reason=reason)
            link.error = reason
