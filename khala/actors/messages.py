"""Messages that never leave their node: between a node's own actors and its threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from khala.bus.envelope import Envelope
from khala.coordination.interface import ClusterView
from khala.core.access import Identity
from khala.core.changes import Change, Changed
from khala.core.commands import PutFileChunk, TaskAccepted
from khala.core.execution.delivering import Piece
from khala.core.execution.file_uploads import FilePart
from khala.core.messages import QueuedTask
from khala.core.output import StreamKey
from khala.core.task import Epoch, Outcome, Phase, Task, TaskSpec
from khala.errors import KhalaError
from khala.execution.job import OutputSpooled


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: look at the clock."""


@dataclass(frozen=True, slots=True)
class AreYouUp:
    """The supervisor's question to an actor that it started; the answer says nothing but yes."""


@dataclass(frozen=True, slots=True)
class Began:
    """An actor of this node was started, maybe again: what was sent to it before may be lost."""

    actor: str


@dataclass(frozen=True, slots=True)
class Flush:
    """Everything that was in the inbox before this has been handled: act on it as one batch."""


@dataclass(frozen=True, slots=True)
class ViewWanted:
    """An actor that has just started asks for the cluster's view."""


@dataclass(frozen=True, slots=True)
class ViewChanged:
    """What coordination knows now. `gap`: it could not be read until just before."""

    view: ClusterView
    gap: bool = False


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
class CommitChange:
    """Write this change in the next guarded batch of `epoch`."""

    epoch: Epoch
    change: Change


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
    """The page of active tasks after `after`; `done` when it is the last."""

    epoch: Epoch
    after: str
    tasks: Sequence[QueuedTask]
    done: bool


@dataclass(frozen=True, slots=True)
class ScanWaiting:
    """Read a page of the pending tasks after a key, and the cancel requests (P3)."""

    epoch: Epoch
    after: tuple[float, str]


@dataclass(frozen=True, slots=True)
class WaitingScanned:
    """A page of pending tasks and the tasks whose cancel is requested; `done` at the end."""

    epoch: Epoch
    tasks: Sequence[QueuedTask]
    cancels: Sequence[QueuedTask]
    done: bool


@dataclass(frozen=True, slots=True)
class ReadFailed:
    """The store could not answer this question of the scheduler now."""

    wanted: RereadTasks | ScanActive | ScanWaiting


@dataclass(frozen=True, slots=True)
class InsertTasks:
    """Store these tasks of `who`, about `size_bytes` in all, and answer the envelope; `refused` holds the
    answers to those that were refused before, by place."""

    who: Identity
    tasks: tuple[Task, ...]
    refused: dict[int, TaskAccepted]
    size_bytes: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class TakeChunk:
    """Take this part of a file that `who` sends, and answer the sender."""

    who: Identity
    chunk: PutFileChunk


@dataclass(frozen=True, slots=True)
class AskAccounts:
    """Carry out this command about people, which `who` may give, and answer the envelope."""

    who: Identity
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class NoteAction:
    """`who` was let in to do this: put it on record."""

    who: Identity
    action: str
    target: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AccountsChanged:
    """What was remembered of tokens may be wrong now."""


@dataclass(frozen=True, slots=True)
class CallsAnswered:
    """An actor answered callers that the front door had sent to it (P15)."""

    actor: str
    items: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class AnswerQuery:
    """Read what an authorised envelope asks for, and answer it."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class CheckToken:
    """Whose is the token of this digest?"""

    digest: str


@dataclass(frozen=True, slots=True)
class TokenChecked:
    """The answer to CheckToken: who it is, or None; `failed` when the store could not say."""

    digest: str
    who: Identity | None
    failed: str = ""


@dataclass(frozen=True, slots=True)
class CheckFinished:
    """Which of these tasks are finished? Asked for each new wait, and again in rounds. With `owner`,
    tasks of others do not exist."""

    task_ids: tuple[str, ...]
    round: int = 0
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class FinishedChecked:
    """The answer to CheckFinished: those that are finished or do not exist."""

    task_ids: tuple[str, ...]
    round: int


@dataclass(frozen=True, slots=True)
class ServiceChecked:
    """How a native service of this node does."""

    service: str
    running: bool
    restarts: int


@dataclass(frozen=True, slots=True)
class ReplicaSetChecked:
    """How the replica set stands: the state of each registered judicator's member, and whether there
    is a primary at all."""

    states: Mapping[str, str]
    writable: bool


@dataclass(frozen=True, slots=True)
class RunAttempt:
    """Run this, assigned under `epoch`, in the slot that receives it."""

    task_id: str
    attempt: int
    spec: TaskSpec
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class StopRunning:
    """End this attempt, if it still runs in the slot that receives it."""

    task_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class PhaseEntered:
    """A slot's attempt began a phase."""

    task_id: str
    attempt: int
    phase: Phase


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """A slot's attempt is over, nothing of it runs. `spooled`: its output went to a spool while it ran."""

    task_id: str
    attempt: int
    outcome: Outcome
    spooled: bool = False


@dataclass(frozen=True, slots=True)
class SweepSpools:
    """Remove the spools of all attempts but these."""

    kept: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class PieceAnswered:
    """What a judicator answered to a piece of output: from where it wants more, or why not."""

    piece: Piece
    next_offset: int = 0
    error: KhalaError | None = None


@dataclass(frozen=True, slots=True)
class FilePartAnswered:
    """What a judicator answered to a part of an output file."""

    part: FilePart
    complete: bool = False
    error: KhalaError | None = None


@dataclass(frozen=True, slots=True)
class SpoolGrew:
    """A running attempt, assigned under `epoch`, has more output to deliver."""

    spooled: OutputSpooled
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class OutputDelivered:
    """All output that belongs to this outcome is stored; it says how much that is."""

    task_id: str
    attempt: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class OutputGrew:
    """This node stored more of these streams."""

    keys: tuple[StreamKey, ...]


@dataclass(frozen=True, slots=True)
class LoadMeasured:
    """The host's load average of the last minute, and if there is room for another workspace."""

    load: float
    room: bool = True


@dataclass(frozen=True, slots=True)
class Drain:
    """Take nothing more; hand back what has not started."""
