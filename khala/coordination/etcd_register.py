"""The register of judicators as one reads and writes it without being a member: before a node joins.

Through the first endpoint that answers. Any thread, blocking, with a timeout on each call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from khala.coordination.etcd_client import EtcdClient
from khala.coordination.etcd_keys import PREFIX, shared_key, view_of
from khala.coordination.etcd_settings import address_of
from khala.coordination.interface import ClusterView
from khala.errors import Unavailable

_CALL_TIMEOUT_S = 2.0
_FOUNDER, _CLUSTER = "founder", "cluster"

T = TypeVar("T")


class EtcdRegister:
    """Each call raises Unavailable or ConfigurationError, and may be made again."""

    def __init__(
        self, endpoints: Sequence[str], *, secret: bytes | None = None, timeout_s: float = _CALL_TIMEOUT_S
    ) -> None:
        self._addresses = [address_of(endpoint) for endpoint in endpoints]
        self._secret = secret
        self._timeout_s = timeout_s

    def view(self) -> ClusterView:
        """Who belongs to the cluster, and who lives."""
        return self._call(lambda client: view_of(client.read_below(PREFIX)))

    def founder(self, mongod: str) -> str:
        """The mongod (host:port) that begins the replica set of this cluster: the first that asks."""
        return self._call(lambda client: client.put_if_absent(shared_key(_FOUNDER), mongod))

    def founded(self) -> str:
        """The cluster's id, once its store was made; empty before."""

        def read(client: EtcdClient) -> str:
            key = shared_key(_CLUSTER)
            return next((entry.value for entry in client.read_below(key) if entry.key == key), "")

        return self._call(read)

    def found(self, cluster_id: str) -> str:
        """The store is made, as this cluster: nobody begins a replica set any more. The id that counts."""
        return self._call(lambda client: client.put_if_absent(shared_key(_CLUSTER), cluster_id))

    def _call(self, call: Callable[[EtcdClient], T]) -> T:
        failure = Unavailable("no etcd endpoint is known")
        for address in self._addresses:
            try:
                client = EtcdClient(address, secret=self._secret, timeout_s=self._timeout_s)
                try:
                    return call(client)
                finally:
                    client.close()
            except Unavailable as error:
                failure = error
        raise failure
