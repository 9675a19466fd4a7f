"""The lines of a recorded history: what clients were told, what was stored, what executors did.

The simulation records them as they happen; a test on real processes makes them from the clients' logs,
the stored tasks' events and the executors' journals. `at` is in seconds, on any one clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from khala.core.journal import JournalRecord
from khala.core.output import StreamKey
from khala.core.task import Epoch, OnDisconnect, State, StreamCapture, TaskControl, TaskEvent


@dataclass(frozen=True, slots=True)
class Submitted:
    """A client began to submit; nothing was answered yet."""

    at: float
    task_id: str
    key: str


@dataclass(frozen=True, slots=True)
class SubmitAcknowledged:
    """A client was told that its task is stored."""

    at: float
    task_id: str
    key: str


@dataclass(frozen=True, slots=True)
class CancelAcknowledged:
    """A client was told that its cancel request is stored, or that the task had finished."""

    at: float
    task_id: str


@dataclass(frozen=True, slots=True)
class TaskInserted:
    """The store has a new task. `wall_time_s` is the sum of its phases' limits; None is unlimited."""

    at: float
    task_id: str
    key: str
    max_attempts: int
    on_disconnect: OnDisconnect
    control: TaskControl
    wall_time_s: float | None = None


@dataclass(frozen=True, slots=True)
class TaskChanged:
    """The store has a change. `guard` is the epoch of the batch; None for what needs no leader."""

    at: float
    task_id: str
    guard: Epoch | None
    control: TaskControl
    event: TaskEvent


@dataclass(frozen=True, slots=True)
class EpochTaken:
    """A judicator became the one holder of an epoch."""

    at: float
    epoch: Epoch
    holder: str


@dataclass(frozen=True, slots=True)
class StoreRestored:
    """The store is a backup's, which was made in the generation `origin`: it has these tasks, and a new
    generation. What else was is lost, by an operator's word."""

    at: float
    generation: int
    origin: int
    stored: Mapping[str, TaskControl]


@dataclass(frozen=True, slots=True)
class ExecutorOffered:
    """What an executor has room for; 0 bytes of memory is unlimited."""

    at: float
    executor: str
    slots: int
    cpus: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class EpochAnswered:
    """An executor sent a report that names this epoch."""

    at: float
    executor: str
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class AssignmentReceived:
    """An assignment arrived at an executor, which may obey or refuse it."""

    at: float
    executor: str
    task_id: str
    attempt: int
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Journalled:
    """A record is on an executor's disk."""

    at: float
    executor: str
    record: JournalRecord


@dataclass(frozen=True, slots=True)
class ProcessBegan:
    """An attempt's processes run. `generation` is the one that gave it; 0 where only one ever was."""

    at: float
    executor: str
    task_id: str
    attempt: int
    cpus: float
    memory_bytes: int
    generation: int = 0


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """All processes of an attempt are gone."""

    at: float
    executor: str
    task_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class OutputSettled:
    """An outcome was recorded that says of a stream what is stored; `stored` is all that then was."""

    at: float
    key: StreamKey
    capture: StreamCapture
    stored: bytes


@dataclass(frozen=True, slots=True)
class TaskRead:
    """A client read a task through one gateway; it asked at `began` and had the answer at `at`.

    `rev` 0: the gateway said that there is no such task.
    """

    at: float
    began: float
    gateway: str
    task_id: str
    rev: int
    state: State


@dataclass(frozen=True, slots=True)
class OutputProduced:
    """An executor's disk has the output of one stream (`execute.stdout`) of an attempt that ended."""

    at: float
    task_id: str
    attempt: int
    stream: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class OutputStored:
    """The store has that stream; `kept` of its bytes are there."""

    at: float
    task_id: str
    attempt: int
    stream: str
    size: int
    digest: str
    kept: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Healed:
    """Every fault so far is over: all parts run and reach each other."""

    at: float


@dataclass(frozen=True, slots=True)
class Remained:
    """Something of a task is there although all is at rest: a process, a control group, a mount, a file."""

    at: float
    what: str


Record = (
    Submitted
    | SubmitAcknowledged
    | CancelAcknowledged
    | TaskInserted
    | TaskChanged
    | EpochTaken
    | StoreRestored
    | ExecutorOffered
    | EpochAnswered
    | AssignmentReceived
    | Journalled
    | ProcessBegan
    | ProcessEnded
    | OutputSettled
    | TaskRead
    | OutputProduced
    | OutputStored
    | Healed
    | Remained
)
