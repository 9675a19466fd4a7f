"""How long a node lives: until a signal, until it has nothing left to do, or until it must give up."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TypeVar

import structlog

from khala.core.instant import Instant
from khala.errors import KhalaError, Unavailable

EXIT_FAULT = 1
INSIST_EVERY_S = 0.3
TOLD_EVERY_S = 10.0
COLLECT_AFTER = (10_000, 20, 20)
"""How many objects, and how many collections of the younger ones."""

T = TypeVar("T")


class _Wake(Enum):
    """What the main thread is woken for."""

    SIGNAL = auto()
    END = auto()


def read_clocks() -> Instant:
    """Both clocks of this host. Unix time in whole microseconds, as it is shown and filtered by."""
    return Instant(time.clock_gettime(time.CLOCK_BOOTTIME), round(time.time(), 6))


def settle_heap() -> None:
    """What was made until now lives as long as this process: no collection need look at it again. And fewer
    of them: hardly anything here is in a cycle, and each looks at every message and task in hand."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def set_up_logging(*, verbose: bool) -> None:
    """One line an event, to standard output, as containers expect; `verbose` adds details."""
    level = logging.INFO if verbose else logging.WARNING
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level if verbose else structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=level, stream=sys.stdout, format="%(asctime)s %(name)s %(message)s")


class Stopped(Exception):
    """The node shall end while it still starts."""


class Lifetime:
    """Waits in the main thread; any thread may end it. The first reason given counts.

    A signal handler runs in the midst of what the main thread does, so it may take no lock that the
    main thread may hold, as Event.set() would that of Event.wait(); SimpleQueue.put() is made for it.
    """

    def __init__(self, role: str) -> None:
        self._role = role
        self._wake: SimpleQueue[_Wake] = SimpleQueue()
        self._over = False
        self._lock = threading.Lock()
        self._drain: Callable[[], None] | None = None
        self.exit_code = 0

    def catch_signals(self, drain: Callable[[], None] | None = None) -> None:
        """SIGTERM and SIGINT end the node; with `drain`, the first one only asks it to drain."""
        self._drain = drain
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._caught)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self._drain is None:
            self._over = True
        self._wake.put(_Wake.SIGNAL)

    def give_up(self, reason: str) -> None:
        """The node cannot go on: it says why and ends with a non-zero code."""
        with self._lock:
            if self._over:
                return
            self.exit_code = EXIT_FAULT
            print(f"khala {self._role}: {reason}", file=sys.stderr, flush=True)  # noqa: T201
            self.end()

    def end(self) -> None:
        """The node has nothing left to do."""
        self._over = True
        self._wake.put(_Wake.END)

    def pause(self, seconds: float) -> None:
        """Let time pass while the node starts; raises Stopped as soon as it shall end."""
        with contextlib.suppress(Empty):
            self._wake.get(timeout=seconds)
        if self._over:
            raise Stopped

    def insist(self, what: str, attempt: Callable[[], T]) -> T:
        """The answer of `attempt`, called again for as long as it raises Unavailable; tells now and then
        what it waits for, as in "to be added". Raises Stopped as soon as the node shall end."""
        told_at = -TOLD_EVERY_S
        while True:
            self.pause(0.0)
            try:
                return attempt()
            except Unavailable as why:
                now = time.monotonic()
                if now - told_at >= TOLD_EVERY_S:
                    told_at = now
                    structlog.get_logger().warning(f"waiting {what}", reason=str(why).partition("\n")[0])
            self.pause(INSIST_EVERY_S)

    def wait(self) -> int:
        """Block until the end; the exit code."""
        settle_heap()
        while True:
            try:
                # The kernel may give a signal to another thread; Python calls the handler in this one.
                wake = self._wake.get(timeout=1.0)
            except Empty:
                continue
            drain, self._drain = self._drain, None
            if wake == _Wake.END or drain is None:
                return self.exit_code
            drain()


class Teardown:
    """What must be undone, in reverse order; one failure does not keep the rest from being undone."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], object]]] = []

    def add(self, what: str, undo: Callable[[], object]) -> None:
        """Remember to undo this."""
        self._steps.append((what, undo))

    def run(self) -> None:
        """Undo everything, the latest first."""
        log = structlog.get_logger()
        while self._steps:
            what, undo = self._steps.pop()
            try:
                undo()
            except (KhalaError, OSError, RuntimeError) as why:
                log.error("could not be stopped cleanly", part=what, reason=str(why))
