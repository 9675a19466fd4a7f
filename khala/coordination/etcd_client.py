"""One connection to one etcd endpoint: the few calls Khala makes, with a timeout on each.

Used by one thread. A connection that raised is thrown away and a new one made: tokens, channels and
watches do not survive an etcd that was restarted. Never fork a process that holds one.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from etcd3.client import Endpoint, MultiEndpointEtcd3Client
from etcd3.exceptions import WatchTimedOut

from khala.coordination.etcd_errors import translated
from khala.coordination.etcd_keys import Entry
from khala.coordination.etcd_settings import KHALA, password_of
from khala.errors import Unavailable

_CHANNEL_OPTIONS = (
    # a new channel must try at once: by default all channels of a process share one back-off
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
)


def connect(
    address: tuple[str, int], *, timeout_s: float, user: str | None = None, password: str | None = None
) -> MultiEndpointEtcd3Client:
    """The library's client of one endpoint, logged in when a user is given. gRPC logs nothing unless
    the user's environment asks for it. Raises what `translated` says."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    host, port = address
    endpoint = Endpoint(host, port, secure=False, time_retry=1.0, opts=_CHANNEL_OPTIONS)
    try:
        with translated(f"{host}:{port}"):
            client = MultiEndpointEtcd3Client(
                [endpoint],
                timeout=timeout_s,
                user=user,
                password=password,
                failover=True,  # without it a second call after a failed one raises a bare ValueError
            )
    except BaseException:
        endpoint.close()
        raise
    # gRPC refuses call credentials on a channel without TLS; the token travels in the metadata too
    client.call_credentials = None
    return client


class EtcdClient:
    """Khala's calls. Each raises Unavailable, OutcomeUnknown or ConfigurationError."""

    def __init__(self, address: tuple[str, int], *, secret: bytes | None, timeout_s: float) -> None:
        self.where = f"{address[0]}:{address[1]}"
        self.watching = False
        self._client = connect(
            address,
            timeout_s=timeout_s,
            user=KHALA if secret is not None else None,
            password=password_of(KHALA, secret) if secret is not None else None,
        )

    def read_below(self, prefix: str) -> list[Entry]:
        """Every key below a prefix, by a linearizable read."""
        with translated(self.where):
            answer = self._client.get_prefix_response(prefix)
        return [
            Entry(key=_text(kv.key), value=_text(kv.value), lease=kv.lease, revision=kv.mod_revision)
            for kv in answer.kvs
        ]

    def put(self, values: dict[str, str], *, lease: int = 0) -> None:
        """Write the keys together, bound to a lease when one is given."""
        with translated(self.where):
            puts = [self._client.transactions.put(key, value, lease) for key, value in values.items()]
            self._client.transaction(compare=[], success=puts, failure=[])

    def put_if_absent(self, key: str, value: str, *, lease: int = 0) -> str:
        """Write a key unless it exists; the value it has afterwards."""
        act = self._client.transactions
        with translated(self.where):
            written, answers = self._client.transaction(
                compare=[act.version(key) == 0], success=[act.put(key, value, lease)], failure=[act.get(key)]
            )
        return value if written else _text(answers[0][0][0])

    def delete(self, key: str) -> None:
        with translated(self.where):
            self._client.delete(key)

    def delete_unchanged(self, entry: Entry) -> None:
        """Delete a key unless it was changed since it was read."""
        act = self._client.transactions
        with translated(self.where):
            self._client.transaction(
                compare=[act.mod(entry.key) == entry.revision], success=[act.delete(entry.key)], failure=[]
            )

    def grant(self, ttl_s: float) -> tuple[int, float]:
        """A new lease: its id, and its lifetime in seconds as granted."""
        with translated(self.where):
            lease = self._client.lease(max(1, round(ttl_s)))
        return lease.id, float(lease.ttl)

    def keep_alive(self, lease: int) -> float:
        """Renew a lease; its lifetime in seconds from now, 0.0 when it is lost."""
        with translated(self.where):
            answers = list(self._client.refresh_lease(lease))
        if not answers:
            raise Unavailable(f"etcd at {self.where} closed a renewal without an answer")
        return float(answers[-1].TTL)

    def revoke(self, lease: int) -> None:
        with translated(self.where):
            self._client.revoke_lease(lease)

    def watch(self, prefix: str, hint: Callable[[], None]) -> None:
        """Call `hint`, from a thread of the library, when something below `prefix` may have changed.
        It may fall silent without a word, or not begin at all: only `read_below` tells the truth."""

        def changed(answer: object) -> None:
            if isinstance(answer, Exception):
                self.watching = False
            hint()

        self.watching = True  # before the call: its error may come, from the other thread, during it
        with translated(self.where):
            try:
                self._client.add_watch_prefix_callback(prefix, changed)
            except WatchTimedOut:
                self.watching = False

    def close(self) -> None:
        """Close the channel, and with it the watch."""
        self._client.close()


def _text(content: bytes) -> str:
    return content.decode(errors="replace")
