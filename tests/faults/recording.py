"""The history as it is written down during a run: what clients did and were told, and what was done to them.

Any thread may add. `records` is what the checker reads; `calls` and `faults` explain it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from history.records import Record


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call. `outcome` is ok, fail (surely nothing happened) or unknown."""

    began: float
    ended: float
    gateway: str
    verb: str
    subject: str
    outcome: str
    detail: str = ""


@dataclass(slots=True)
class Struck:
    """One fault, in Unix seconds; `executors` are those whose running attempts it may have hit."""

    kind: str
    victim: str
    at: float
    executors: tuple[str, ...] = ()
    over_at: float = float("inf")


@dataclass(slots=True)
class Recorder:
    """One run's log; `keys` says when each key was first submitted."""

    records: list[Record] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    faults: list[Struck] = field(default_factory=list)
    keys: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, record: Record) -> None:
        """Something that the checker shall judge."""
        with self._lock:
            self.records.append(record)

    def called(self, call: Call) -> None:
        """A call is over."""
        with self._lock:
            self.calls.append(call)

    def submits(self, key: str, at: float) -> None:
        """A key is about to be submitted, maybe for another time."""
        with self._lock:
            self.keys.setdefault(key, at)

    def snapshot(self) -> tuple[list[Record], dict[str, float]]:
        """What there is now."""
        with self._lock:
            return list(self.records), dict(self.keys)

    @contextmanager
    def fault(self, kind: str, victim: str, executors: tuple[str, ...] = ()) -> Iterator[Struck]:
        """A fault that lasts as long as the block."""
        struck = Struck(kind, victim, time.time(), executors)
        with self._lock:
            self.faults.append(struck)
        try:
            yield struck
        finally:
            struck.over_at = time.time()
