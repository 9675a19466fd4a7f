"""Messages between the actors of an executor's node."""

from __future__ import annotations

from dataclasses import dataclass

from khala.core.execution.delivering import Piece
from khala.core.execution.file_uploads import FilePart
from khala.core.task import Epoch, Outcome, TaskSpec
from khala.errors import KhalaError
from khala.execution.job import OutputSpooled


@dataclass(frozen=True, slots=True)
class RunAttempt:
    """Run this in the slot that receives it."""

    task_id: str
    attempt: int
    spec: TaskSpec


@dataclass(frozen=True, slots=True)
class StopRunning:
    """End this attempt, if it still runs in the slot that receives it."""

    task_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """A slot's attempt is over, nothing of it runs."""

    slot: int
    task_id: str
    attempt: int
    outcome: Outcome


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
class LoadMeasured:
    """The host's load average of the last minute, and if there is room for another workspace."""

    load: float
    room: bool = True


@dataclass(frozen=True, slots=True)
class Drain:
    """Take nothing more; hand back what has not started."""
