"""What waits to be sent to one peer: encoded envelopes, bounded by count and by bytes.

Any thread puts, the reactor's takes. A full outbox refuses; it never grows and never blocks.
"""

from __future__ import annotations

import threading
from collections import deque


class Outbox:
    """A bounded queue of (deadline, encoded envelope)."""

    def __init__(self, *, max_envelopes: int, max_bytes: int) -> None:
        self._max_envelopes = max_envelopes
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._closed = False

    def put(self, encoded: bytes, deadline: float) -> bool:
        """Add to the end; False when that would exceed a bound, or after `close`."""
        with self._lock:
            full = len(self._waiting) >= self._max_envelopes or self._bytes + len(encoded) > self._max_bytes
            if self._closed or full:
                return False
            self._waiting.append((deadline, encoded))
            self._bytes += len(encoded)
            return True

    def take(self, target_bytes: int, now: float) -> tuple[list[bytes], int]:
        """What one frame carries, at most `target_bytes` but at least one envelope however big it is,
        and how many were dropped because their deadline (Unix seconds) was before `now`."""
        taken: list[bytes] = []
        size = 0
        expired = 0
        with self._lock:
            while self._waiting:
                deadline, encoded = self._waiting[0]
                if deadline and deadline < now:
                    expired += 1
                elif taken and size + len(encoded) > target_bytes:
                    break
                else:
                    taken.append(encoded)
                    size += len(encoded)
                self._waiting.popleft()
                self._bytes -= len(encoded)
        return taken, expired

    def close(self) -> int:
        """Refuse from now on, forget what waits, and tell how many that were."""
        with self._lock:
            self._closed = True
            forgotten = len(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            return forgotten

    @property
    def waiting(self) -> tuple[int, int]:
        """Envelopes and bytes that wait."""
        return len(self._waiting), self._bytes
