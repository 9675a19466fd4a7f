"""SIGINT, SIGTERM and SIGHUP as something that a loop can wait for and count.

A handler only writes to a pipe; the loop selects on it, so a signal ends every wait at once. Must
be used in the main thread, where Python delivers signals.
"""

from __future__ import annotations

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Any

_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


class StopSignals:
    """Within `with`: how often the operator asked to stop, and waiting that ends when it happens."""

    def __init__(self) -> None:
        self.count = 0
        self.last = signal.SIGTERM
        self._reading = self._writing = -1
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in _HANDLED:
            self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        os.close(self._reading)
        os.close(self._writing)

    def wait(self, timeout_s: float) -> None:
        """Sleep until a signal comes or a child ends, at most `timeout_s` seconds."""
        ready, _, _ = select.select([self._reading], [], [], timeout_s)
        if ready:
            os.read(self._reading, 4096)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number != signal.SIGCHLD:
            self.count += 1
            self.last = signal.Signals(number)
        try:
            os.write(self._writing, b".")
        except BlockingIOError:
            return
