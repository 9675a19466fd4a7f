"""What a leader counts of the tasks that it saw end: reasons, and how long their phases took. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

from khala.core.operations import Sample
from khala.core.task import Result, TaskControl

BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0)
PASS_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Durations:
    """A histogram of seconds, as Prometheus counts them: each bucket holds what is at most its bound."""

    def __init__(self, bounds_s: Sequence[float] = BUCKETS_S) -> None:
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds_s, seconds)] += 1
        self._sum_s += seconds

    def samples(self, name: str, **labels: str) -> Iterator[Sample]:
        """`name`_bucket, `name`_sum and `name`_count."""
        total = 0
        for bound, count in zip((*map(str, self._bounds_s), "+Inf"), self._counts, strict=True):
            total += count
            yield Sample(name=f"{name}_bucket", labels={**labels, "le": bound}, value=float(total))
        yield Sample(name=f"{name}_sum", labels=labels, value=self._sum_s)
        yield Sample(name=f"{name}_count", labels=labels, value=float(total))


class Tally:
    """Since this leader leads; a new one begins at nothing."""

    def __init__(self) -> None:
        self._ended: Counter[tuple[str, str]] = Counter()
        self._phases = {name: Durations() for name in ("queue", "compile", "execute")}
        self._passes = Durations(PASS_BUCKETS_S)

    def passed(self, took_s: float) -> None:
        """A pass over what waits took so long."""
        self._passes.add(took_s)

    def ended(self, control: TaskControl, result: Result | None) -> None:
        """A task ended so."""
        self._ended[control.state, control.exit_reason or ""] += 1
        if control.started_at is not None:
            self._phases["queue"].add(max(0.0, control.started_at - control.queued_at))
        for name in ("compile", "execute"):
            phase = getattr(result, name, None)
            if phase is not None:
                self._phases[name].add(phase.wall_time_s)

    def samples(self) -> Iterator[Sample]:
        """All of it."""
        for (state, reason), count in sorted(self._ended.items()):
            labels = {"state": state, "exit_reason": reason}
            yield Sample(name="khala_tasks_ended_total", labels=labels, value=float(count))
        for name, durations in self._phases.items():
            yield from durations.samples("khala_phase_seconds", phase=name)
        yield from self._passes.samples("khala_scheduler_pass_seconds")
