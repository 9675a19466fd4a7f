"""What is done to tasks and executors by hand: the part of the RPC service `Judicator` for operating.

`owner` narrows a command to the tasks of one user; others do not exist for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from khala.core.commands import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendTask:
    """Change the labels or the priority of a task that is not finished; None leaves them as they are."""

    task_id: str
    labels: Mapping[str, str] | None = None
    priority: int | None = None
    owner: str | None = None
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeTask:
    """Remove a finished task; a tombstone keeps its id from being used again (P7)."""

    task_id: str
    owner: str | None = None
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainExecutor:
    """Let an executor take nothing more, or take tasks again."""

    executor: str
    draining: bool = True
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainOrdered:
    """The order to an executor, and the answer to DrainExecutor: it was sent."""

    executor: str
    draining: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GetMetrics:
    """What does the leader, and the judicator that answers, count?"""

    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One number, named and labelled as Prometheus has it: counters end in _total, the parts of a
    histogram in _bucket, _sum and _count, everything else is a gauge."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The answer to GetMetrics."""

    samples: tuple[Sample, ...]
