"""One thread that serves all sockets and timers of a node (P14).

Owns a selector and the thread that runs it. Callbacks run in that thread and must not block: no DNS,
no disk, no waiting. What a callback raises is logged and counted; the thread lives on.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

import structlog

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

OnReady = Callable[[int], object]


class Timer:
    """A call at a later time; `cancel` makes it none."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Never call; harmless when it was called."""
        self.call = None


class Reactor:
    """The loop. `call_soon` and `stop` are for any thread, the rest for the loop's own."""

    def __init__(self, name: str, *, on_error: Callable[[], object]) -> None:
        self._on_error = on_error
        self._log = structlog.get_logger("khala.bus")
        self._selector = selectors.DefaultSelector()
        self._soon: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._stopping = False
        self._woken = False
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._selector.register(self._wake_receiver, READ, self._on_wake)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to run."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the loop and wait for its thread; sockets that are still watched stay open."""
        self._stopping = True
        if self._thread.ident is None:
            self._release()
            return
        self.call_soon(lambda: None)
        self.join(timeout_s)

    def join(self, timeout_s: float) -> None:
        """Wait until the loop has ended, unless called by itself."""
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def call_soon(self, call: Callable[[], object]) -> None:
        """Call in the loop's thread, after what was given before."""
        self._soon.append(call)
        if threading.get_ident() == self._thread.ident:
            return
        # The loop clears the flag before it takes calls: either it sees this one, or it is woken.
        if not self._woken:
            self._woken = True
            try:
                self._wake_sender.send(b"\0")
            except BlockingIOError:
                return
            except OSError:
                if not self._stopping:
                    raise

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        """Call after a delay."""
        timer = Timer(call)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), timer))
        return timer

    def watch(self, sock: socket.socket, events: int, on_ready: OnReady) -> None:
        """Call `on_ready(events)` whenever the socket is ready for some of `events`."""
        self._selector.register(sock, events, on_ready)

    def change(self, sock: socket.socket, events: int, on_ready: OnReady) -> None:
        """Watch for other events."""
        self._selector.modify(sock, events, on_ready)

    def unwatch(self, sock: socket.socket) -> None:
        """No longer watch; to be called before the socket is closed."""
        self._selector.unregister(sock)

    def _run(self) -> None:
        try:
            while not self._stopping:
                for key, events in self._selector.select(self._timeout_s()):
                    self._guarded(key.data, events)
                for _ in range(len(self._soon)):
                    self._guarded(self._soon.popleft())
                self._run_timers()
        finally:
            self._release()

    def _timeout_s(self) -> float | None:
        if self._soon:
            return 0.0
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            call = heapq.heappop(self._timers)[2].call
            if call is not None:
                self._guarded(call)

    def _guarded(self, call: Callable[..., object], *arguments: int) -> None:
        try:
            call(*arguments)
        except Exception:  # noqa: BLE001 - the thread serves every peer and must live
            self._log.exception("a callback of the bus failed")
            self._on_error()

    def _on_wake(self, _events: int) -> None:
        self._wake_receiver.recv(4096)
        self._woken = False

    def _release(self) -> None:
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()
