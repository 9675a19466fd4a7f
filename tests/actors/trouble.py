"""What goes wrong in the memory store when a test says so."""

from __future__ import annotations

import threading
from collections import Counter

from khala.store.memory_calls import StoreFault


class Trouble:
    """The memory store's fault hook: counts calls, fails some, and can hold one until it is let go."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.always: dict[str, StoreFault] = {}
        self.next: dict[str, list[StoreFault]] = {}
        self.crash: dict[str, int] = {}
        self._held: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def __call__(self, method: str) -> StoreFault | None:
        with self._lock:
            self.calls[method] += 1
            held = self._held.get(method)
        if held is not None:
            held.wait(120.0)
        with self._lock:  # several readers call at once
            if self.crash.get(method, 0) > 0:
                self.crash[method] -= 1
                raise RuntimeError(f"a planted bug in {method}")
            if self.next.get(method):
                return self.next[method].pop(0)
            return self.always.get(method) or self.always.get("*")

    def hold(self, method: str) -> None:
        """Let calls of this method wait."""
        self._held[method] = threading.Event()

    def let_go(self, method: str) -> None:
        """Let them go on."""
        self._held.pop(method).set()
