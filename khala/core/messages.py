"""The messages between the nodes of a cluster: leader, executors, judicators.

Commands are verb and noun, events noun and participle. All are frozen and typed;
`khala.bus.codec` carries each of them as a member of one tagged union, so a new message is added
here and in `thrift/khala.thrift` and nowhere else. What clients ask of a judicator is in
`khala.core.commands`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from khala.core.task import Demand, Epoch, Outcome, TaskControl, TaskSpec

# --- leader to executor --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderAnnounced:
    """A leader asks for a report; answering it refuses every older epoch for good (P9)."""

    epoch: Epoch
    leader: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignTask:
    """Run this attempt. `sequence` increases within an epoch and incarnation (P8).

    A `gated` attempt must ask with StartRequested and wait for StartCleared before it executes.
    """

    epoch: Epoch
    incarnation: str
    sequence: int
    task_id: str
    attempt: int
    spec: TaskSpec
    gated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCleared:
    """The start of a gated attempt is saved; it may execute now."""

    epoch: Epoch
    incarnation: str
    task_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallAttempt:
    """Hand this attempt back if it has not started; if unknown, never start it (P8)."""

    epoch: Epoch
    incarnation: str
    task_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortAttempt:
    """End this attempt, its whole process tree: it was cancelled, or is superseded."""

    epoch: Epoch
    incarnation: str
    task_id: str
    attempt: int
    superseded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeSettled:
    """The outcome is on a majority's disk (or lost the race): the executor may forget it. `epoch` is the
    assignment's, as the executor told it."""

    task_id: str
    attempt: int
    superseded: bool = False
    epoch: Epoch = Epoch()


# --- executor to leader --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One attempt in a report. `status` is held, started, finished (unacknowledged) or crashed.

    `crashed` attempts belonged to an earlier incarnation whose journal shows a start but no end;
    `incarnation` is the one that the attempt was assigned to.
    """

    task_id: str
    attempt: int
    status: str
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorReport:
    """What an executor is and holds. An older `number` than one already seen is ignored.

    `isolation` names the levels that hold here, `layers` says of each layer what its probe showed.
    Only assignments at or below (`highest_epoch`, `highest_sequence`) can be missing from it (P9).
    """

    executor: str
    incarnation: str
    number: int
    epoch: Epoch
    highest_epoch: Epoch = Epoch()
    highest_sequence: int = 0
    slots: int = 1
    cpus: float = 1.0
    memory_bytes: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""
    draining: bool = False
    load: float = 0.0
    attempts: tuple[AttemptView, ...] = ()
    isolation: tuple[str, ...] = ("none", "basic")
    layers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequested:
    """A gated attempt is ready and asks to execute. Here and below, `epoch` is the assignment's (P4)."""

    executor: str
    incarnation: str
    task_id: str
    attempt: int
    epoch: Epoch = Epoch()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    """An attempt executes now; `at` is the executor's clock in Unix seconds."""

    executor: str
    incarnation: str
    task_id: str
    attempt: int
    at: float
    phase: str = ""
    epoch: Epoch = Epoch()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFinished:
    """An attempt ended; resent until OutcomeSettled. `incarnation` is the one it was assigned to."""

    executor: str
    incarnation: str
    task_id: str
    attempt: int
    started_at: float
    outcome: Outcome
    epoch: Epoch = Epoch()


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReturned:
    """An attempt was handed back, or refused, before it started; it will never start.

    An `unknown` one this life of the executor never had in hand, or had under an older generation: if the
    store says that it began, it did.
    """

    executor: str
    incarnation: str
    task_id: str
    attempt: int
    reason: str = ""
    epoch: Epoch = Epoch()
    unknown: bool = False


# --- between judicators --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedTask:
    """What the leader keeps of a task: its control part and its demand. A hint of a few small tasks brings
    their specifications as well, so that an idle leader need not read them to give them away."""

    task_id: str
    control: TaskControl
    demand: Demand
    spec: TaskSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksQueued:
    """A hint that these tasks were stored; it only saves latency (P3)."""

    tasks: tuple[QueuedTask, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelsRequested:
    """A hint that cancel requests were stored for these tasks (P3)."""

    tasks: tuple[QueuedTask, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksSettled:
    """These tasks reached a terminal state; whoever waits for them may read them."""

    task_ids: tuple[str, ...]
