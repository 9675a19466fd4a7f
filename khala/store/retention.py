"""What the store does to remove what is over; `tests/store` holds both implementations to it.

Called from the cleaner's thread; errors as in `khala.store.interface`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from khala.core.retention import DueJob, DueTask, FilePage, FileUse, FinishedTask
from khala.core.task import State


class RetentionStore(Protocol):
    """What is over, and goes: see `khala.core.retention`. Everything here may be done again, and by a leader
    that is none any more: only what is finished goes, and that never changes. A store keeps a list of the
    tasks and jobs whose time is up, or will be at a known time: they are due then."""

    def finished_tasks(
        self, state: State, after: tuple[float, str], created_before: float, limit: int
    ) -> Sequence[FinishedTask]:
        """Tasks that ended so, by (created_at, id) after a key, made before a time."""
        ...

    def finished_jobs(
        self, after: tuple[float, str], finished_before: float, limit: int
    ) -> Sequence[tuple[float, str]]:
        """(finished_at, id) of jobs, in that order, after a key."""
        ...

    def expire(self, at: float, *, tasks: Sequence[str] = (), jobs: Sequence[str] = ()) -> None:
        """These are due from `at` on, unless a time is known already."""
        ...

    def look_again(
        self, *, tasks: Mapping[str, float] | None = None, jobs: Mapping[str, float] | None = None
    ) -> None:
        """Of these that are due, each is due at another time."""
        ...

    def due_tasks(self, at: float, limit: int) -> Sequence[DueTask]:
        """Tasks that are due, the longest due first."""
        ...

    def due_jobs(self, at: float, limit: int, tasks_each: int) -> Sequence[DueJob]:
        """Jobs that are due, the longest due first, each with at most so many of its finished tasks."""
        ...

    def oldest_open(self) -> float:
        """When the oldest task or job was made that is not finished; infinite if there is none."""
        ...

    def purge_tasks(self, task_ids: Sequence[str], at: float, again_at: float) -> None:
        """`purge` those of these that are finished; they are due again at `again_at`."""
        ...

    def forget_tasks(self, tasks: Sequence[DueTask]) -> None:
        """Drop tombstones that are still as they were seen, and what else is left of these tasks."""
        ...

    def forget_job(self, job_id: str) -> None:
        """Drop a finished job."""
        ...

    def sweep_outputs(self, after: str, limit: int) -> str:
        """Drop the output of tasks that are gone, as a late piece may be. Looks at `limit` tasks that have
        any, by id after an id; the last one's id, or nothing after the end."""
        ...

    def oldest_active(self) -> float:
        """When the oldest task was made that is assigned or runs; infinite if there is none."""
        ...

    def files_unused_since(self, at: float, after: str, limit: int) -> tuple[Sequence[FileUse], str]:
        """Files that nobody used since (the twin has no clock: all of them). Looks at `limit` files by sha256
        after one; and the last one looked at, or nothing after the end."""
        ...

    def files_of_tasks(self, after: tuple[float, str], limit: int) -> FilePage:
        """The files that tasks need or have as outputs, by (created_at, id) of the tasks after a key."""
        ...

    def files_of_jobs(self, after: tuple[float, str], limit: int) -> FilePage:
        """The files that jobs need, likewise."""
        ...

    def drop_file(self, use: FileUse) -> bool:
        """Remove a file that was not used since it was seen so; was it removed?"""
        ...

    def sweep_uploads(self, begun_before: float, after: str, limit: int) -> str:
        """Drop what is left of uploads that were begun before and never became a file. Looks at `limit`
        uploads after one; the last one looked at, or nothing after the end."""
        ...
