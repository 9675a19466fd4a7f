"""Taking the lost judicators out of the register, when a survivor goes on without them (P19).

Called by `khala judicator --recover` on the survivor's own etcd; one thread, blocking.
"""

from __future__ import annotations

from contextlib import closing

from khala.coordination.etcd_client import EtcdClient
from khala.coordination.etcd_keys import KV2_PREFIX, LEADER, PREFIX, judicator_key, view_of
from khala.coordination.etcd_settings import address_of

_CALL_TIMEOUT_S = 5.0


def forget_lost(endpoint: str, survivor: str, *, secret: bytes | None) -> tuple[str, ...]:
    """Unregister every judicator but `survivor`, and end what nodes have published: those that live do it
    again. The names of the unregistered ones. Raises Unavailable or ConfigurationError."""
    with closing(EtcdClient(address_of(endpoint), secret=secret, timeout_s=_CALL_TIMEOUT_S)) as client:
        entries = client.read_below(PREFIX)
        lost = tuple(sorted(set(view_of(entries).registered) - {survivor}))
        published = [*entries, *client.read_below(KV2_PREFIX)]
        stale = [entry.key for entry in published if entry.lease or entry.key == LEADER]
        for key in (*map(judicator_key, lost), *stale):
            client.delete(key)
    return lost
