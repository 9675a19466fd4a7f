"""How to reach etcd, as plain values, and the passwords that follow from a cluster's secret."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from khala.errors import ConfigurationError

ROOT = "root"
KHALA = "khala"


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdSettings:
    """`endpoints` are `http://host:port` or `host:port`; one of them is used at a time.

    Times in seconds: `lease_ttl_s` is asked for (etcd grants 2 s at least); `call_timeout_s` bounds
    each call and must leave room for two within a lease; `start_timeout_s` bounds `start`;
    `relist_s` is how often the truth is read when no watch hints at a change; `retry_s` is the pause
    between attempts while etcd does not answer.
    """

    endpoints: Sequence[str]
    secret: bytes | None = field(default=None, repr=False)
    lease_ttl_s: float = 6.0
    call_timeout_s: float = 1.0
    start_timeout_s: float = 10.0
    relist_s: float = 2.0
    retry_s: float = 0.2

    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each endpoint; raises ConfigurationError for one that is no such thing."""
        if not self.endpoints:
            raise ConfigurationError("etcd: no endpoint is given; name one as host:port")
        return [address_of(endpoint) for endpoint in self.endpoints]


def address_of(endpoint: str) -> tuple[str, int]:
    """Host (an IPv6 one in brackets) and port of `http://host:port` or `host:port`."""
    host, colon, port = endpoint.removeprefix("http://").rstrip("/").rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536) or "/" in host:
        raise ConfigurationError(f"etcd: {endpoint!r} is not an endpoint; write host:port")
    return host, int(port)


def password_of(user: str, secret: bytes) -> str:
    """The password of an etcd user: HMAC-SHA-256 of the cluster's secret, in hexadecimal."""
    return hmac.digest(secret, f"khala etcd user {user}".encode(), hashlib.sha256).hex()
