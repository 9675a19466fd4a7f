"""Becoming a member: publish the node in etcd, trying again while etcd cannot be reached."""

from __future__ import annotations

import threading

import structlog

from khala.bus.interface import Bus
from khala.config import RoleConfig
from khala.coordination.interface import ClusterView, Coordination, Member
from khala.errors import ConfigurationError, Unavailable


def join(coordination: Coordination, member: Member, bus: Bus, config: RoleConfig) -> None:
    """Publish `member`; views go to the node's membership actor from now on.

    Tries `retry_times` more times, `retry_interval` seconds apart; then ConfigurationError says what
    to look at.
    """
    address = f"{member.name}/membership"

    def seen(view: ClusterView) -> None:
        bus.send(address, view)

    for attempt in range(config.retry_times + 1):
        try:
            coordination.start(member, seen)
            return
        except Unavailable as why:
            if attempt == config.retry_times:
                raise ConfigurationError(
                    f"the cluster's etcd does not answer: {why}; is its judicator running, and is the "
                    "address given to --etcd-cluster-join-member-client right?"
                ) from why
            structlog.get_logger().warning("etcd does not answer yet", reason=str(why))
            threading.Event().wait(config.retry_interval)
