"""The servers of the etcd cluster: who belongs to it, adding one, removing one.

Called by a judicator that joins or is removed; any thread, blocking, with a timeout on each call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from etcd3.client import MultiEndpointEtcd3Client

from khala.coordination.etcd_client import connect
from khala.coordination.etcd_errors import translated
from khala.coordination.etcd_settings import ROOT, address_of, password_of
from khala.errors import Unavailable

_CALL_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdMember:
    """One server of the etcd cluster; `name` is empty until it was started for the first time."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]


class EtcdMembers:
    """Member administration through one endpoint. Each call raises Unavailable or ConfigurationError.

    etcd answers "unhealthy cluster", which is Unavailable, until all servers were connected for 5 s.
    """

    def __init__(self, endpoint: str, *, secret: bytes | None = None) -> None:
        self._address = address_of(endpoint)
        self._secret = secret

    def all(self) -> list[EtcdMember]:
        """Every server that belongs to the cluster, running or not."""
        with self._client() as client:
            return _all(client)

    def add(self, peer_url: str) -> dict[str, str]:
        """Add the server at `peer_url`, unless it is there already. The others by name and peer URL:
        what the new one needs as its initial cluster.

        A server that was added before and never started has no name yet and is left out."""
        with self._client() as client:
            there = _all(client)
            if not any(peer_url in member.peer_urls for member in there):
                client.add_member([peer_url])
        others = [member for member in there if member.name and peer_url not in member.peer_urls]
        return {member.name: member.peer_urls[0] for member in others}

    def remove(self, name: str) -> bool:
        """Remove a server by name; false when there is none."""
        with self._client() as client:
            found = [member for member in _all(client) if member.name == name]
            for member in found:
                client.remove_member(member.id)
        return bool(found)

    @contextmanager
    def _client(self) -> Iterator[MultiEndpointEtcd3Client]:
        password = password_of(ROOT, self._secret) if self._secret is not None else None
        user = ROOT if self._secret is not None else None
        client = connect(self._address, timeout_s=_CALL_TIMEOUT_S, user=user, password=password)
        try:
            with translated(f"{self._address[0]}:{self._address[1]}"):
                yield client
        finally:
            client.close()


def _all(client: MultiEndpointEtcd3Client) -> list[EtcdMember]:
    members = [
        EtcdMember(
            id=member.id,
            name=member.name,
            peer_urls=tuple(member.peer_urls),
            client_urls=tuple(member.client_urls),
        )
        for member in client.members
    ]
    if not members:
        raise Unavailable("etcd named no member")
    return members
