"""The counters behind `BusStats`. Any thread may count."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from khala.bus.interface import BusStats


class Counters:
    """Counts by the names of BusStats's fields."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, number: int = 1) -> None:
        """Count `number` more of `name`."""
        with self._lock:
            self._counts[name] += number

    def snapshot(self, **standing: Any) -> BusStats:
        """The counts, together with how things stand."""
        with self._lock:
            counts: dict[str, Any] = dict(self._counts)
        return BusStats(**counts, **standing)
