"""The gateway's front: bind the port, then serve it with one worker here or with several processes."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace

from khala.errors import ConfigurationError
from khala.gateway.app import JudicatorsFactory
from khala.gateway.server import BACKLOG, GatewayServer
from khala.gateway.settings import GatewaySettings
from khala.gateway.workers import WorkerPool


def serve(settings: GatewaySettings, factory: JudicatorsFactory) -> None:
    """Serve until SIGTERM or SIGINT; call it in the main thread.

    `factory` is called once in each worker; with more than one worker it must be importable. Raises
    ConfigurationError when it cannot listen, and what `factory` raises.
    """
    sock = listen(settings.host, settings.port)
    settings = replace(settings, port=sock.getsockname()[1])
    with sock:
        if settings.workers <= 1:
            GatewayServer(settings, factory, sock).run(signals=True)
        else:
            WorkerPool(settings, factory, sock).run()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises ConfigurationError in one line that says what to do."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host.strip("[]") or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host!r}: it is no address of this machine; 0.0.0.0 means all of them"
        ) from error
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"port {port} of {host} is in use: stop what listens there, or choose another port"
            ) from error
        raise ConfigurationError(f"cannot listen on port {port} of {host}: {error.strerror}") from error
    sock.setblocking(False)
    return sock
