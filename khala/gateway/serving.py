"""Listening, serving and stopping gracefully.

One worker is served by the calling thread's own event loop, so that an error at the start is raised
here and not only logged. More workers are Sanic's processes, spawned; then the factory must be
importable.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from sanic import Sanic
from sanic.worker.loader import AppLoader

from khala.errors import ConfigurationError
from khala.gateway.app import JudicatorsFactory, create_app
from khala.gateway.settings import GatewaySettings

BACKLOG = 1024


class GatewayServer:
    """One worker in the calling thread. `port` is the real one, also where 0 was asked for."""

    def __init__(self, settings: GatewaySettings, factory: JudicatorsFactory) -> None:
        self._socket = listen(settings.host, settings.port)
        self.port: int = self._socket.getsockname()[1]
        self._settings = replace(settings, port=self.port)
        self._factory = factory
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None

    def run(self, *, on_ready: Callable[[], None] | None = None, signals: bool = False) -> None:
        """Serve until `stop`, or with `signals` until SIGTERM or SIGINT; then finish what runs."""
        asyncio.run(self._run(on_ready, signals))

    def stop(self) -> None:
        """End `run`, from any thread."""
        loop, stopped = self._loop, self._stopped
        if loop is not None and stopped is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stopped.set)

    async def _run(self, on_ready: Callable[[], None] | None, signals: bool) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT) if signals else ():
            self._loop.add_signal_handler(number, self._stopped.set)
        app = create_app(self._settings, self._factory)
        try:
            # Without it Sanic does not know its HTTP version and sends an empty Alt-Svc header.
            app.prepare(sock=self._socket, single_process=True, register_sys_signals=False, motd=False)
            server: Any = await app.create_server(
                sock=self._socket, backlog=BACKLOG, asyncio_server_kwargs={"start_serving": False}
            )
            await server.startup()
            await server.before_start()
            try:
                await server.start_serving()
                if on_ready is not None:
                    on_ready()
                await self._stopped.wait()
                await self._drain(server)
            finally:
                await server.after_stop()
        finally:
            self._socket.close()
            Sanic.unregister_app(app)

    async def _drain(self, server: Any) -> None:
        """No new connections; idle ones end now, busy ones when they are done, at last by force."""
        await server.close()
        deadline = time.monotonic() + self._settings.stop_grace_s
        while server.connections and time.monotonic() < deadline:
            for connection in list(server.connections):
                connection.close_if_idle()
            await asyncio.sleep(0.02)
        for connection in list(server.connections):
            connection.abort()


def serve(settings: GatewaySettings, factory: JudicatorsFactory) -> None:
    """Serve until SIGTERM or SIGINT; call it in the main thread.

    Raises ConfigurationError when it cannot listen, and whatever `factory` raises.
    """
    if settings.workers == 1:
        GatewayServer(settings, factory).run(signals=True)
        return
    sock = listen(settings.host, settings.port)
    settings = replace(settings, port=sock.getsockname()[1])
    loader = AppLoader(factory=partial(create_app, settings, factory))
    app = loader.load()
    app.prepare(sock=sock, workers=settings.workers, motd=False, access_log=settings.access_log)
    Sanic.serve(primary=app, app_loader=loader)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; raises ConfigurationError in one line that says what to do."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host.strip("[]") or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host!r}: no such address on this machine") from error
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
