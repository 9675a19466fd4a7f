"""Becoming a member: publish the node in etcd, trying again while etcd cannot be reached."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import structlog

from khala.bus.interface import Bus
from khala.config import RoleConfig
from khala.coordination.interface import ClusterView, Coordination, Member
from khala.errors import ConfigurationError, Unavailable
from khala.services.ports import host_port

Seen = Callable[[ClusterView], None]


def etcd_endpoints(config: RoleConfig) -> list[str]:
    """The client URLs of etcd that the settings name: those behind the service, else those to join; none
    if the service's name cannot be looked up now."""
    if not config.etcd_cluster_service:
        return [url.strip() for url in config.etcd_cluster_join_member_client.split(",") if url.strip()]
    port = config.etcd_cluster_service_port
    try:
        found = socket.getaddrinfo(config.etcd_cluster_service, port, type=socket.SOCK_STREAM)
    except OSError as why:
        structlog.get_logger().warning(
            "the service cannot be looked up", name=config.etcd_cluster_service, reason=str(why)
        )
        return []
    hosts = dict.fromkeys(str(address[0]) for *_, address in found)
    return [f"http://{host_port(host, port)}" for host in hosts]


def require_endpoints(config: RoleConfig) -> list[str]:
    """As `etcd_endpoints`, for a role that cannot be without: patient, then ConfigurationError."""
    for _ in range(config.retry_times + 1):
        endpoints = etcd_endpoints(config)
        if endpoints:
            return endpoints
        threading.Event().wait(config.retry_interval)
    raise ConfigurationError(
        f"--etcd-cluster-service: {config.etcd_cluster_service} has no address: is it this network's name "
        "for the judicators?"
    )


def join(
    coordination: Coordination, member: Member, bus: Bus, config: RoleConfig, *, also: Seen | None = None
) -> None:
    """Publish `member`; views go to the node's membership actor, and to `also`, from now on.

    Tries `retry_times` more times, `retry_interval` seconds apart; then ConfigurationError says what
    to look at.
    """
    address = f"{member.name}/membership"

    def seen(view: ClusterView) -> None:
        if also is not None:
            also(view)
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
