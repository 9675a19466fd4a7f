"""What a decision asks its actor to do.

Order matters between kinds, not within one: durable effects (`Save`, `Journal`) first and only then
whatever tells somebody (`Send`, `StartAttempt`, `StopAttempt`), because nothing may be said that a
crash could unsay.
"""

from __future__ import annotations

from dataclasses import dataclass

from khala.core.changes import Change
from khala.core.journal import JournalRecord
from khala.core.task import Epoch, Outcome, TaskSpec


@dataclass(frozen=True, slots=True)
class Save:
    """Commit this change under the leader's epoch; the answer comes back to the scheduler."""

    change: Change


@dataclass(frozen=True, slots=True)
class Reread:
    """Read these tasks from a majority; the answer comes back to the scheduler."""

    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask the store how these tasks stand, finished and purged ones too; the answer comes back."""

    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """These tasks reached a terminal state: tell whoever waits for them."""

    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send `message` to an address of the bus (`node/actor` or `leader/scheduler`)."""

    destination: str
    message: object


@dataclass(frozen=True, slots=True)
class Journal:
    """Write this record to the executor's journal; later effects wait until it is on disk."""

    record: JournalRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAttempt:
    """Run this attempt in this slot; `ahead`: when those have ended that the slot was given before."""

    slot: int
    task_id: str
    attempt: int
    spec: TaskSpec
    epoch: Epoch
    ahead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAttempt:
    """End this attempt's whole process tree; its end is reported like any other."""

    slot: int
    task_id: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverOutput:
    """Have all that is spooled of this ended attempt stored; the answer is the outcome, with less stored
    if the spool had less (P6)."""

    task_id: str
    attempt: int
    outcome: Outcome
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class DropSpool:
    """Nobody needs this attempt's spool any more."""

    task_id: str
    attempt: int


Effect = (
    Save | Reread | LookUp | Settled | Send | Journal | StartAttempt | StopAttempt | DeliverOutput | DropSpool
)
