"""Ports and addresses a native server is about to listen on. Any thread; opens no lasting socket."""

from __future__ import annotations

import errno
import ipaddress
import socket

from khala.errors import ConfigurationError


def numeric(address: str, flag: str) -> str:
    """The IP of a listen address: etcd listens on IPs only, so a host name is looked up here."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigurationError(
            f"{flag}: {address!r} is neither an IP nor a known host name ({error.strerror})"
        ) from None
    return str(found[0][4][0])


def host_port(address: str, port: int) -> str:
    """`host:port`, with an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def reachable(address: str) -> str:
    """Where this host reaches a server that listens on `address`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)


def demand_free(address: str, port: int, flag: str) -> None:
    """Raise ConfigurationError, naming port and flag, unless a server could listen there now.

    A port whose old connections are in TIME_WAIT is free: the servers set SO_REUSEADDR, as this does.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = "is in use by another program: end it, or choose another port"
            else:
                reason = f"cannot be listened on ({error.strerror}): choose another address or port"
            raise ConfigurationError(f"{flag}: port {port} of {address} {reason}") from None


def accepts(host: str, port: int, timeout_s: float) -> bool:
    """Whether somebody accepts connections there, alive or only paused."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True


def any_free_port() -> int:
    """A port of the loopback interface that is free now, for a server that runs for a short while."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
