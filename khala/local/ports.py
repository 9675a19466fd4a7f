"""Which TCP ports a local cluster uses: chosen once, then kept, because etcd and mongod remember them.

New ports lie below the kernel's range for outgoing connections (ip(7), ip_local_port_range), so
that no passing connection sits on one when a server is started again. `HeldPorts` are bound, not
listened on, as long as the cluster runs: its servers may listen there all the same (socket(7),
SO_REUSEADDR), and no other cluster that starts meanwhile chooses one of them.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterable, Mapping

from khala.errors import ConfigurationError

_LOWEST, _HIGHEST = 20_000, 32_000
_TRIES = 500


class HeldPorts:
    """Ports that nobody else chooses as new ones until their `release`."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def release(self) -> None:
        """Hold none any longer."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def take(self, port: int) -> bool:
        """Hold a port that nobody uses, holds or has used lately; False if somebody does."""
        return self._hold(port, anew=True)

    def keep(self, port: int) -> None:
        """Hold a port on which a server could listen now."""
        self._hold(port, anew=False)

    def _hold(self, port: int, *, anew: bool) -> bool:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, not anew)
            sock.bind(("127.0.0.1", port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except OSError:
            sock.close()
            return False
        self._sockets.append(sock)
        return True


def choose_ports(
    names: Iterable[str], remembered: Mapping[str, int], chance: random.Random, held: HeldPorts
) -> Mapping[str, int]:
    """A port for each name, held from now on: the remembered one, which must be free, or a new free one."""
    chosen: dict[str, int] = {}
    for name in names:
        port = remembered.get(name, 0)
        if port and not is_free(port):
            raise ConfigurationError(
                f"port {port}, which {name} of this cluster uses, is taken by another program: "
                "end that program, or give another --data-dir"
            )
        if port:
            held.keep(port)
        chosen[name] = port or _new_port(set(chosen.values()) | set(remembered.values()), chance, held)
    return chosen


def choose_gateway_port(
    wanted: int, host: str, taken: Iterable[int], chance: random.Random, held: HeldPorts
) -> int:
    """`wanted`, if a server can listen on it; 0 means any. It is held from now on."""
    if wanted == 0:
        return _new_port(set(taken), chance, held)
    reason = why_not(wanted, host)
    if reason is None:
        held.keep(wanted)
        return wanted
    if reason == errno.EADDRINUSE:
        raise ConfigurationError(
            f"port {wanted} is taken by another program: "
            "give --port 0 for any free port, or --port N for another"
        )
    if reason == errno.EACCES:
        raise ConfigurationError(f"port {wanted} is only for root: give a --port from 1024 up")
    raise ConfigurationError(f"--host: {host} is no IPv4 address of this machine: give 127.0.0.1 or 0.0.0.0")


def is_free(port: int) -> bool:
    """Can a server listen there on the loopback interface now?"""
    return why_not(port, "127.0.0.1") is None


def why_not(port: int, host: str) -> int | None:
    """The errno that a server which listens there would get now, or None if it would work."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as failure:
            return failure.errno or errno.EADDRNOTAVAIL
    return None


def answers(port: int) -> bool:
    """Does a server accept connections on this machine's `port`?"""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


def _new_port(taken: set[int], chance: random.Random, held: HeldPorts) -> int:
    for _ in range(_TRIES):
        port = chance.randint(_LOWEST, _HIGHEST)
        # Held first: who only looks listens for a moment, and another's server may be about to start there.
        if port not in taken and held.take(port) and is_free(port):
            return port
    raise ConfigurationError(f"no free TCP port between {_LOWEST} and {_HIGHEST} was found: end some servers")
