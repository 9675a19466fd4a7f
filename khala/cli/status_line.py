"""A line at the end of a terminal that says how far a work is, and makes room for what is printed.

Not rich's: that one redraws from a thread of its own, between two writes of a task's output.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

_SOONEST_S = 0.1


class StatusLine:
    """Nothing at all where standard error is no terminal."""

    def __init__(self, *, hidden: bool = False) -> None:
        self._active = sys.stderr.isatty() and not hidden
        self._shown = False
        self._next = 0.0

    def show(self, text: Callable[[], str]) -> None:
        """Draw it, not too often."""
        if not self._active or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _SOONEST_S
        self._shown = True
        sys.stderr.write(f"\r\x1b[K{text()}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take it away, for something else to be printed."""
        if self._shown:
            self._shown = False
            self._next = 0.0
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
