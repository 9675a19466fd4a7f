"""How long what is over is kept, and what becomes of it when its time is up. Pure.

A finished task is purged: its output goes, and a tombstone takes its place, by which its idempotency key
is known (P7) and by which tasks that wait for it learn how it ended. Later the tombstone is forgotten. A
job is purged as a whole, task by task, and stays as a record until their tombstones are gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

OPEN_AGAIN_S = 60.0
NEEDED_AGAIN_S = 3_600.0
FOR_EVER_AGAIN_S = 30 * 86_400.0
CLOCK_MARGIN_S = 600.0
"""By how much the clocks of judicators may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """For how many seconds things are kept; None is for ever.

    `finished_s`: tasks and jobs since their end. `keys_s`: the tombstone of a task since it was purged.
    `files_s`: a file since it was used last. `audit_s`: the record of who did what.
    """

    finished_s: float | None = None
    keys_s: float | None = None
    files_s: float | None = None
    audit_s: float | None = None


class Standing(StrEnum):
    """Where a thing stands on its way out."""

    OPEN = "open"
    FINISHED = "finished"
    PURGED = "purged"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTask:
    """A task whose time may be up; `purged_at` if it is a tombstone."""

    task_id: str
    standing: Standing
    purged_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DueJob:
    """A job whose time may be up: some of its finished tasks, and whether it `has_left` anything but itself,
    tombstones too."""

    job_id: str
    standing: Standing
    tasks: tuple[str, ...] = ()
    has_left: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTask:
    """A finished task as a walk over them sees it."""

    task_id: str
    created_at: float
    finished_at: float
    job_id: str = ""
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True)
class FileUse:
    """A stored file, and a mark of its last use: another use has another mark."""

    sha256: str
    used: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePage:
    """The files that some tasks or jobs refer to, and the key of the last of these; None after the end."""

    sha256s: frozenset[str]
    last: tuple[float, str] | None


@dataclass(frozen=True, slots=True)
class Purge:
    """Its time is up."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing of it is needed any more."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Not now; at this time (Unix seconds)."""

    at: float


Step = Purge | Forget | LookAgain


def step_of_task(due: DueTask, keep: Retention, now: float, oldest_open: float) -> Step:
    """What to do with a task that is due. `oldest_open` is when the oldest task or job was made that is not
    finished: whoever waits for a purged task was made before that was purged, or kept it (`standings`)."""
    match due.standing:
        case Standing.GONE:
            return Forget()
        case Standing.OPEN:
            return LookAgain(now + OPEN_AGAIN_S)
        case Standing.FINISHED:
            return Purge()
        case Standing.PURGED:
            again_at = forget_at(keep, due.purged_at, now)
            if again_at > now:
                return LookAgain(again_at)
            if oldest_open <= due.purged_at + CLOCK_MARGIN_S:
                return LookAgain(now + NEEDED_AGAIN_S)
            return Forget()


def step_of_job(due: DueJob, keep: Retention, now: float) -> Step:
    """What to do with a job that is due: purge those of its tasks that are named, or it."""
    match due.standing:
        case Standing.OPEN:
            return LookAgain(now + OPEN_AGAIN_S)
        case Standing.FINISHED if due.tasks:
            return Purge()
        case Standing.FINISHED if due.has_left:
            return LookAgain(now + min(NEEDED_AGAIN_S, forget_at(keep, now, now) - now))
        case _:
            return Forget()


def forget_at(keep: Retention, purged_at: float, now: float) -> float:
    """When to look at a tombstone again; long ahead if it is to stay, for that is a setting."""
    return now + FOR_EVER_AGAIN_S if keep.keys_s is None else purged_at + keep.keys_s


def has_outlived(task: FinishedTask, keep: Retention, now: float) -> bool:
    """Is a task that belongs to no job to be purged? What its owner asked for counts before the setting."""
    kept_s = keep.finished_s if task.ttl_s is None else task.ttl_s
    return not task.job_id and kept_s is not None and task.finished_at + kept_s <= now


def purge_time(at: float, ttl_s: float | None, job_id: str) -> float | None:
    """When to purge a task that ends `at`, if its owner said so; a job's task goes with the job."""
    return None if ttl_s is None or job_id else at + ttl_s
