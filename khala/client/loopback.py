"""Which hosts are this machine: no proxy stands between it and itself. Pure."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Is `host`, a name or an address, this machine?"""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
