"""The peers of a bus: what waits for each, how it is reached, and who dials it.

`Links` may be asked by any thread; a `Link`'s channel and dialer belong to the reactor's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

from khala.bus.channel import Channel
from khala.bus.dialer import Dialer
from khala.bus.interface import Peer
from khala.bus.outbox import Outbox


class Link:
    """One peer. `address` is empty unless it is wanted; `error` says why it cannot be reached."""

    def __init__(self, node: str, outbox: Outbox) -> None:
        self.node = node
        self.outbox = outbox
        self.address = ""
        self.error = ""
        self.peer: Peer | None = None
        self.channel: Channel | None = None
        self.dialer: Dialer | None = None
        self.flush_is_due = False

    def flush(self) -> None:
        """Write what waits, if there is a connection."""
        self.flush_is_due = False
        if self.channel is not None:
            self.channel.flush()


class Links:
    """The links by name. There is one for each peer that is wanted or connected."""

    def __init__(self, *, max_envelopes: int, max_bytes: int) -> None:
        self._max_envelopes = max_envelopes
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._links: dict[str, Link] = {}

    def __iter__(self) -> Iterator[Link]:
        with self._lock:
            return iter(tuple(self._links.values()))

    def get(self, node: str) -> Link | None:
        """The link to a node."""
        return self._links.get(node)

    def want(self, peers: Mapping[str, str]) -> None:
        """Want exactly these peers, by name with host:port."""
        with self._lock:
            for name in peers:
                self._ensure(name)
            for link in self._links.values():
                link.address = peers.get(link.node, "")

    def attach(self, channel: Channel, peer: Peer) -> tuple[Link, Channel | None]:
        """A connection to `peer` is open: its link, and the older connection that it replaces."""
        with self._lock:
            link = self._ensure(peer.node)
            older, link.channel, link.peer = link.channel, channel, peer
        link.error = ""
        if older is not None:
            older.outbox = None
        channel.outbox = link.outbox
        return link, older

    def prune(self, link: Link) -> int:
        """Forget a link that is neither wanted nor connected; the number of envelopes lost with it."""
        with self._lock:
            if link.address or link.channel is not None or self._links.get(link.node) is not link:
                return 0
            del self._links[link.node]
            return link.outbox.close()

    def _ensure(self, node: str) -> Link:
        link = self._links.get(node)
        if link is None:
            outbox = Outbox(max_envelopes=self._max_envelopes, max_bytes=self._max_bytes)
            link = self._links[node] = Link(node, outbox)
        return link
