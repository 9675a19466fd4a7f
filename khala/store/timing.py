"""How long the store takes, for metrics. Any thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from khala.core.operations import Sample
from khala.core.scheduling.tally import Durations

_BOUNDS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
KINDS = ("read", "write", "transaction")


class StoreTimes:
    """Durations of operations by kind, those that failed too, and how many did."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._durations = {kind: Durations(_BOUNDS_S) for kind in KINDS}
        self._failures = dict.fromkeys(KINDS, 0)

    @contextmanager
    def measured(self, kind: str) -> Iterator[None]:
        """Measure the block."""
        began, failed = time.monotonic(), True
        try:
            yield
            failed = False
        finally:
            with self._lock:
                self._durations[kind].add(time.monotonic() - began)
                self._failures[kind] += failed

    def samples(self, node: str) -> list[Sample]:
        """All of it, as `node`'s."""
        with self._lock:
            found = [
                sample
                for kind, durations in self._durations.items()
                for sample in durations.samples("khala_store_seconds", node=node, kind=kind)
            ]
            for kind, count in self._failures.items():
                labels = {"node": node, "kind": kind}
                found.append(Sample(name="khala_store_failures_total", labels=labels, value=float(count)))
        return found
