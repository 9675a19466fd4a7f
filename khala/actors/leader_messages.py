"""Messages between the scheduler and those who read and write the store for it, within a judicator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from khala.core.changes import Change, Changed
from khala.core.messages import QueuedTask
from khala.core.task import Epoch, State, Task
from khala.store.interface import QueueKey


@dataclass(frozen=True, slots=True)
class TakeEpoch:
    """The scheduler won leadership and needs an epoch of its own. `asked_at` (CLOCK_BOOTTIME) tells
    this question from earlier ones, whose late answer would be an epoch that is over already."""

    asked_at: float


@dataclass(frozen=True, slots=True)
class EpochTaken:
    """The answer to TakeEpoch."""

    asked_at: float
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class EpochNotTaken:
    """The answer to TakeEpoch when the store could not be asked now."""

    asked_at: float
    reason: str


@dataclass(frozen=True, slots=True)
class LeadingWith:
    """The node's scheduler leads with this epoch; Epoch() when it does not lead."""

    epoch: Epoch


@dataclass(frozen=True, slots=True)
class CommitChanges:
    """Write these changes in the next guarded batches of `epoch`, in order."""

    epoch: Epoch
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class ChangesAnswered:
    """The store's answers to a batch of `epoch`."""

    epoch: Epoch
    answers: Sequence[Changed]


@dataclass(frozen=True, slots=True)
class ChangesUnknown:
    """The store could not say what became of a batch of `epoch`."""

    epoch: Epoch
    task_ids: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class EpochLost:
    """A batch of `epoch` met a newer leader: nothing was written (P1)."""

    epoch: Epoch


@dataclass(frozen=True, slots=True)
class RereadTasks:
    """Read whole tasks for the scheduler of `epoch`."""

    epoch: Epoch
    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TasksReread:
    """The answer to RereadTasks: what was asked for, and what of it exists."""

    epoch: Epoch
    asked: tuple[str, ...]
    found: Sequence[Task]


@dataclass(frozen=True, slots=True)
class ScanActive:
    """Read a page of the active tasks after an id, for a new leader."""

    epoch: Epoch
    after: str


@dataclass(frozen=True, slots=True)
class ActiveScanned:
    """The page of active tasks after `after`; `done` when it is the last. `limits` is how many tasks each
    owner may run whose quota says so."""

    epoch: Epoch
    after: str
    tasks: Sequence[QueuedTask]
    done: bool
    limits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ScanWaiting:
    """Read a page of the pending tasks after a key, and the cancel requests (P3); `whole` as long as the
    leader knows no task yet, otherwise the keys only."""

    epoch: Epoch
    after: tuple[float, str]
    whole: bool


@dataclass(frozen=True, slots=True)
class WaitingScanned:
    """A page of pending tasks, or of their keys, and the tasks whose cancel is requested; `done` at the end,
    else `last` is where it ended. `limits` as in ActiveScanned."""

    epoch: Epoch
    tasks: Sequence[QueuedTask]
    keys: Sequence[QueueKey]
    cancels: Sequence[QueuedTask]
    last: tuple[float, str]
    done: bool
    limits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """The store could not answer this question of the scheduler now."""

    wanted: RereadTasks | ScanActive | ScanWaiting


@dataclass(frozen=True, slots=True)
class LookUpTasks:
    """How do these tasks stand, which others wait for? A question without an answer is asked again."""

    epoch: Epoch
    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TasksLookedUp:
    """The answer to LookUpTasks."""

    epoch: Epoch
    asked: tuple[str, ...]
    found: Mapping[str, State]
