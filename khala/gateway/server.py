"""One worker: an event loop in the calling thread that serves one application and ends gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop
from sanic import Sanic

from khala.gateway.app import JudicatorsFactory, create_app
from khala.gateway.settings import GatewaySettings

LOOK_S = 0.02
PULSE_S = 2.0
BACKLOG = 1024


class GatewayServer:
    """Serves `sock`, which is bound to `settings.host` and `settings.port` and listens already."""

    def __init__(self, settings: GatewaySettings, factory: JudicatorsFactory, sock: socket.socket) -> None:
        self._settings = settings
        self._factory = factory
        self._socket = sock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None

    def run(
        self, *, on_ready: Callable[[], None] | None = None, signals: bool = False, end_with: int = -1
    ) -> None:
        """Serve until `stop`; with `signals` also until SIGTERM or SIGINT, and with a descriptor as
        `end_with` until that can be read. Then finish what runs. Raises what `factory` raises."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run(on_ready, signals, end_with))

    def stop(self) -> None:
        """End `run`, from any thread."""
        loop, stopped = self._loop, self._stopped
        if loop is not None and stopped is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stopped.set)

    async def _run(self, on_ready: Callable[[], None] | None, signals: bool, end_with: int) -> None:
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        self._loop, self._stopped = loop, stopped

        def end_with_parent() -> None:
            loop.remove_reader(end_with)
            stopped.set()

        for number in (signal.SIGTERM, signal.SIGINT) if signals else ():
            loop.add_signal_handler(number, stopped.set)
        if end_with >= 0:
            loop.add_reader(end_with, end_with_parent)
        app = create_app(self._settings, self._factory)
        try:
            await self._serve(app, on_ready, stopped)
        finally:
            self._socket.close()
            Sanic.unregister_app(app)

    async def _serve(
        self, app: Sanic[Any, Any], on_ready: Callable[[], None] | None, stopped: asyncio.Event
    ) -> None:
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
            await self._show_life_until(stopped)
            _let_followers_go(app)
            await self._drain(app, server)
        finally:
            await server.after_stop()

    async def _show_life_until(self, stopped: asyncio.Event) -> None:
        """Touch the health file for as long as this loop turns."""
        file = self._settings.health_file
        while not stopped.is_set():
            if file != Path():
                with contextlib.suppress(OSError):  # who watches the file sees that it is old
                    file.touch()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), PULSE_S)

    async def _drain(self, app: Sanic[Any, Any], server: Any) -> None:
        """No new connections; idle ones end now, busy ones when they are done, at last by force."""
        await server.close()
        deadline = time.monotonic() + self._settings.stop_grace_s
        while server.connections and time.monotonic() < deadline:
            # Again: some began meanwhile, and a cancel that met an answer is lost in Python 3.11's wait_for.
            _let_followers_go(app)
            for connection in list(server.connections):
                connection.close_if_idle()
            await asyncio.sleep(LOOK_S)
        for connection in list(server.connections):
            connection.abort()


def _let_followers_go(app: Sanic[Any, Any]) -> None:
    """Who follows an output goes on at another gateway, or when this one is back."""
    for following in list(app.ctx.followers):
        following.cancel()
