"""Several worker processes behind one listening socket.

The calling thread, the main one, starts them, starts a crashed one again with back-off, and ends them
all. It is this and not Sanic's own manager because that one kills its whole process group, `khala up`
and shells included, when a worker is late or a second signal comes. A worker ends by itself when this
process dies: it holds one end of a pipe.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType

from khala.errors import KhalaError, Unavailable
from khala.gateway.app import JudicatorsFactory
from khala.gateway.server import GatewayServer
from khala.gateway.settings import GatewaySettings

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LOOK_S = 0.5
KILL_AFTER_S = 5.0


@dataclass(slots=True)
class _Worker:
    """One process, or the wait for its next start. Times are of time.monotonic()."""

    process: BaseProcess | None = None
    pipe: Connection | None = None
    ready: bool = False
    pause_s: float = FIRST_PAUSE_S
    start_at: float = 0.0


class WorkerPool:
    """`settings.workers` processes that serve `sock`; `factory` must be importable."""

    def __init__(self, settings: GatewaySettings, factory: JudicatorsFactory, sock: socket.socket) -> None:
        self._settings = settings
        self._factory = factory
        self._socket = sock
        self._spawn = multiprocessing.get_context("spawn")
        self._workers = [_Worker() for _ in range(settings.workers)]
        self._log = logging.getLogger("khala.gateway")
        self._stopping = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises what kept the first worker from starting."""
        with self._signals():
            try:
                while not self._stopping:
                    self._start_due()
                    self._look()
            finally:
                self._end_all()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _start_due(self) -> None:
        for worker in self._workers:
            if worker.process is None and time.monotonic() >= worker.start_at:
                ours, theirs = self._spawn.Pipe()
                arguments = (self._settings, self._factory, self._socket, theirs)
                worker.process = self._spawn.Process(target=work, args=arguments, daemon=True)
                worker.process.start()
                theirs.close()
                worker.pipe, worker.ready = ours, False

    def _look(self) -> None:
        """Wait a little for news of the workers, and take them in."""
        pipes = {worker.pipe: worker for worker in self._workers if worker.pipe is not None}
        for pipe in wait(list(pipes), timeout=LOOK_S):
            worker = pipes[pipe]  # type: ignore[index]
            try:
                news = worker.pipe.recv() if worker.pipe is not None else None
            except (EOFError, OSError):
                news = None
            if news is True:
                worker.ready, worker.pause_s = True, FIRST_PAUSE_S
            else:
                self._bury(worker, news)

    def _bury(self, worker: _Worker, error: object) -> None:
        """A worker has ended: start it again later, or give up if the gateway has never served."""
        if worker.pipe is not None:
            worker.pipe.close()
        if worker.process is not None:
            worker.process.join(KILL_AFTER_S)
        began = any(other.ready for other in self._workers)
        worker.process, worker.pipe = None, None
        worker.ready = False
        worker.start_at = time.monotonic() + worker.pause_s
        if self._stopping:
            return
        if not began:
            raise error if isinstance(error, KhalaError) else Unavailable("a worker ended at its start")
        self._log.error("a worker ended (%s); starting it again in %.1f s", error or "crash", worker.pause_s)
        worker.pause_s = min(worker.pause_s * 2, LONGEST_PAUSE_S)

    def _end_all(self) -> None:
        processes = [worker.process for worker in self._workers if worker.process is not None]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + self._settings.stop_grace_s + KILL_AFTER_S
        for process in processes:
            process.join(max(deadline - time.monotonic(), 0.1))
            if process.is_alive():
                process.kill()
                process.join()
        for worker in self._workers:
            if worker.pipe is not None:
                worker.pipe.close()


def work(
    settings: GatewaySettings, factory: JudicatorsFactory, sock: socket.socket, pipe: Connection
) -> None:
    """The life of a worker process: tell the parent True once it serves, or the error that ended it."""
    server = GatewayServer(settings, factory, sock)
    try:
        server.run(on_ready=lambda: pipe.send(True), signals=True, end_with=pipe.fileno())
    except KhalaError as error:
        pipe.send(error)
