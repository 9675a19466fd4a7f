"""What one node has in etcd: its lease, its published keys and, perhaps, the leader key.

Used by the coordination's thread only. Everything is level: each call compares what is there with
what should be and mends it, so an answer that was lost costs one more round and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from khala.coordination.etcd_client import EtcdClient
from khala.coordination.etcd_keys import LEADER, Entry, decode_member, encode_member, kv2_key, member_key
from khala.coordination.interface import Member

_RENEWALS_PER_LIFETIME = 3


class EtcdSession:
    """One node's lease and what hangs on it; `clock` is CLOCK_BOOTTIME in seconds."""

    def __init__(self, ttl_s: float, clock: Callable[[], float]) -> None:
        self._asked_ttl_s = ttl_s
        self._clock = clock
        self._lease = 0
        self._ttl_s = 0.0
        self._renewed_at = 0.0
        self._published: Member | None = None
        self._leading = False

    def renewal_due_at(self) -> float:
        """When `renew` is to be called next."""
        return self._renewed_at + self._ttl_s / _RENEWALS_PER_LIFETIME if self._lease else 0.0

    def lease_until(self) -> float:
        """The start of the last renewal that succeeded, plus the lifetime it was given; 0.0 for no lease."""
        return self._renewed_at + self._ttl_s if self._lease else 0.0

    def leads_until(self) -> float:
        """The start of the last renewal that succeeded, plus the lifetime it was given; 0.0 for no leader."""
        return self._renewed_at + self._ttl_s if self._leading else 0.0

    def renew(self, client: EtcdClient) -> bool:
        """Keep the lease alive, or take a new one when it is lost: keys and leadership are then gone,
        and the answer is true."""
        if self._lease:
            asked_at = self._clock()
            ttl_s = client.keep_alive(self._lease)
            if ttl_s > 0:
                self._ttl_s, self._renewed_at = ttl_s, asked_at
                return False
            self._lease, self._published, self._leading = 0, None, False
        asked_at = self._clock()
        self._lease, self._ttl_s = client.grant(self._asked_ttl_s)
        self._renewed_at = asked_at
        return True

    def publish(self, client: EtcdClient, member: Member) -> None:
        """Put the member's keys under the lease, in place of what is there."""
        values = {member_key(member): encode_member(member)}
        if member.role == "judicator" and member.address:
            values[kv2_key(member.name)] = member.address
        client.put(values, lease=self._lease)
        self._published = member

    def mend_membership(self, client: EtcdClient, member: Member, entries: Sequence[Entry]) -> bool:
        """Publish what is missing or out of date; whether it was. The newest process of a name has it:
        an older one that comes to again does not take it back while the other lives."""
        key = member_key(member)
        there = next((entry for entry in entries if entry.key == key), None)
        if there is not None and there.lease != self._lease:
            other = decode_member(key, there.value)
            if other is not None and other.incarnation != member.incarnation:
                if self._published is not None:
                    structlog.get_logger().warning("another process has this node's name", name=member.name)
                self._published = None
                return False
        elif there is not None and self._published == member:
            return False
        self.publish(client, member)
        return True

    def mend_leadership(
        self, client: EtcdClient, name: str, entries: Sequence[Entry], *, wanted: bool, give_up: bool
    ) -> bool:
        """Take the leader key when it is wanted and free, or give it up; whether it was changed."""
        there = next((entry for entry in entries if entry.key == LEADER), None)
        mine = there is not None and there.lease == self._lease
        if there is not None and mine and (give_up or not wanted):
            self._leading = False
            client.delete_unchanged(there)
            return True
        self._leading = mine
        if there is None and wanted and not give_up:
            # whether it was won is read back from the listing, which says whose lease holds it
            client.put_if_absent(LEADER, name, lease=self._lease)
            return True
        return False

    def withdraw(self, client: EtcdClient) -> None:
        """Revoke the lease: every key under it is gone at once."""
        self._leading = False
        if self._lease:
            client.revoke(self._lease)
            self._lease = 0
