"""What a LauncherPool takes and tells: jobs in, events out. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from khala.core.task import Outcome, Phase, TaskSpec
from khala.errors import Fault
from khala.execution.launching.workspace import NAME, workspace_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt to run. `files` maps the sha256 of every stored file that `spec` names to a local
    path, which must stay until the job has ended."""

    task_id: str
    attempt: int
    spec: TaskSpec
    files: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(workspace_name(0, self.task_id, self.attempt)):
            raise Fault(f"not a task id of 24 hexadecimal digits: {self.task_id!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted:
    """A phase's command runs since `at` (Unix seconds). `over`: it has ended already, and the JobEnded that
    follows says it all."""

    slot: int
    task_id: str
    attempt: int
    phase: Phase
    at: float
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpooled:
    """So much of a phase's output, from the start of each stream, is in its spool now."""

    slot: int
    task_id: str
    attempt: int
    phase: Phase
    stdout_bytes: int
    stderr_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnded:
    """The end of a job: no process and no file of it is left, and the slot takes another one.

    `started_at` is Unix seconds: when the launcher was given the job.
    """

    slot: int
    task_id: str
    attempt: int
    started_at: float
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReturned:
    """A job that was given ahead has not begun, and the slot does not have it any more: the one before it
    takes long."""

    slot: int
    task_id: str
    attempt: int


LauncherEvent = PhaseStarted | OutputSpooled | JobEnded | JobReturned
