"""The servers of the etcd cluster: who belongs to it, adding one, giving it its vote, removing one.

Called by a judicator that joins and by the leader that removes one; any thread, blocking, with a timeout
on each call. The library knows no learners, so the two calls about them are made with its messages by
hand (etcdserverpb of etcd 3.4: MemberAddRequest.isLearner, Cluster.MemberPromote).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from etcd3 import etcdrpc
from etcd3.client import MultiEndpointEtcd3Client

from khala.coordination.etcd_client import connect
from khala.coordination.etcd_errors import translated
from khala.coordination.etcd_settings import ROOT, address_of, password_of
from khala.errors import ConfigurationError, Unavailable

_CALL_TIMEOUT_S = 3.0
_CLUSTER = "/etcdserverpb.Cluster/"
_IS_LEARNER = b"\x10\x01"  # field 2, true
_IS_VOTER = "can only promote a learner member"  # the whole text: it goes on when it is not in sync yet

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdMember:
    """One server of the etcd cluster; `name` is empty until it was started for the first time."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]


class EtcdMembers:
    """Member administration through the first of `endpoints()` that answers. Each call raises Unavailable
    or ConfigurationError, and may be made again.

    etcd answers "unhealthy cluster", which is Unavailable, until all servers were connected for 5 s.
    """

    def __init__(self, endpoints: Callable[[], Sequence[str]], *, secret: bytes | None = None) -> None:
        self._endpoints = endpoints
        self._secret = secret

    def all(self) -> list[EtcdMember]:
        """Every server that belongs to the cluster, running or not."""
        return self._call(_all)

    def names(self) -> list[str]:
        """Their names; a server that was never started has none."""
        return [member.name for member in self.all() if member.name]

    def add(self, name: str, peer_url: str) -> dict[str, str]:
        """Add the server at `peer_url`, which has no data, as a learner: it has no vote, so that the
        cluster does not depend on it yet. The others by name and peer URL: what it needs as its initial
        cluster. A server of the same name, whose data are lost, is removed first; ConfigurationError when
        the URL is another's."""

        def add(client: MultiEndpointEtcd3Client) -> dict[str, str]:
            same = [m for m in _all(client) if m.name == name or peer_url in m.peer_urls]
            for former in same:
                if former.name not in ("", name):
                    raise ConfigurationError(
                        f"{peer_url} is the address of {former.name}: give --etcd-advertise-address and "
                        "--etcd-advertise-peer-port as the others reach this judicator"
                    )
                if former.name:
                    client.remove_member(former.id)
            if all(former.name for former in same):
                request = etcdrpc.MemberAddRequest(peerURLs=[peer_url]).SerializeToString()
                _cluster_call(client, "MemberAdd", request + _IS_LEARNER)
            others = [member for member in _all(client) if peer_url not in member.peer_urls]
            return {member.name: member.peer_urls[0] for member in others if member.name}

        return self._call(add)

    def promote(self, name: str) -> None:
        """Let the learner `name` vote; Unavailable while it has not caught up. A voter stays one."""

        def promote(client: MultiEndpointEtcd3Client) -> None:
            for member in _all(client):
                if member.name == name:
                    # MemberPromoteRequest has the one field of MemberRemoveRequest
                    request = etcdrpc.MemberRemoveRequest(ID=member.id).SerializeToString()
                    _cluster_call(client, "MemberPromote", request)

        try:
            self._call(promote)
        except Unavailable as error:
            if not str(error).endswith(_IS_VOTER):
                raise

    def readdress(self, name: str, peer_url: str) -> None:
        """Let the others reach the server `name` at `peer_url` from now on; nothing if they do already."""

        def readdress(client: MultiEndpointEtcd3Client) -> None:
            for member in _all(client):
                if member.name == name and member.peer_urls != (peer_url,):
                    client.update_member(member.id, [peer_url])

        self._call(readdress)

    def remove(self, name: str) -> bool:
        """Remove a server by name; false when there is none."""

        def remove(client: MultiEndpointEtcd3Client) -> bool:
            found = [member for member in _all(client) if member.name == name]
            for member in found:
                client.remove_member(member.id)
            return bool(found)

        return self._call(remove)

    def _call(self, call: Callable[[MultiEndpointEtcd3Client], T]) -> T:
        """Through one endpoint after the other until one can; what the last one said, if none."""
        failure = Unavailable("no etcd endpoint is known")
        for endpoint in self._endpoints():
            try:
                return self._through(address_of(endpoint), call)
            except Unavailable as error:
                failure = error
        raise failure

    def _through(self, address: tuple[str, int], call: Callable[[MultiEndpointEtcd3Client], T]) -> T:
        password = password_of(ROOT, self._secret) if self._secret is not None else None
        user = ROOT if self._secret is not None else None
        client = connect(address, timeout_s=_CALL_TIMEOUT_S, user=user, password=password)
        try:
            with translated(f"{address[0]}:{address[1]}"):
                return call(client)
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


def _cluster_call(client: MultiEndpointEtcd3Client, method: str, request: bytes) -> None:
    """A call of etcd's Cluster service with an encoded request; the answer is not needed."""
    client.channel.unary_unary(_CLUSTER + method)(request, timeout=client.timeout, metadata=client.metadata)
