"""The history as it is written down during a run: what clients did and were told, and what was done to them.

Any thread may add. `records` is what the checker reads; `calls` and `faults` explain it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

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


def told(history: Iterable[Record]) -> Iterator[str]:
    """A line for each record."""
    return (f"{record.at:.6f} {record}" for record in history)


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

    def acknowledged(self) -> int:
        """How many submits have been so far."""
        return sum(call.outcome == "ok" for call in self._posts())

    def unanswered(self, since: float = 0.0) -> list[str]:
        """What was said to each submit that was begun since then and was not acknowledged."""
        return [call.detail for call in self._posts() if call.outcome != "ok" and call.began >= since]

    def acknowledged_between(self, began: float, ended: float) -> list[str]:
        """The submits that were begun and acknowledged in that time."""
        inside = [call for call in self._posts() if began <= call.began and call.ended <= ended]
        return [call.subject for call in inside if call.outcome == "ok"]

    def silent_s(self) -> float:
        """For how long no call has been answered well, in seconds."""
        with self._lock:
            answered = [call.ended for call in self.calls if call.outcome == "ok"]
        return time.time() - max(answered, default=0.0)

    def write_down(self, folder: Path, history: Sequence[str]) -> None:
        """Files for a reader: the history as it is told, all calls, and the faults."""
        (folder / "history").write_text("\n".join(history) + "\n")
        (folder / "calls").write_text("\n".join(map(str, self.calls)) + "\n")
        (folder / "faults.json").write_text(json.dumps([asdict(each) for each in self.faults], indent=1))

    def _posts(self) -> list[Call]:
        with self._lock:
            return [call for call in self.calls if call.verb == "POST"]

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
