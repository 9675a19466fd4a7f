"""The in-memory twin's way of removing what is over: the list of what is due, and what each method means.

`MemoryStore` owns the tables; nothing here has a clock or a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from khala.core.changes import Change, Changed
from khala.core.output import StreamKey
from khala.core.retention import DueJob, DueTask, FilePage, FileUse, FinishedTask, Standing
from khala.core.task import ACTIVE, State, Task
from khala.store.memory_calls import MemoryCalls
from khala.store.memory_jobs import JobTable
from khala.store.memory_tasks import TaskTable


class RemovalTable:
    """When tasks and jobs are due, by id."""

    def __init__(self) -> None:
        self.tasks: dict[str, float] = {}
        self.jobs: dict[str, float] = {}

    def copy(self) -> RemovalTable:
        """All of it as it is now."""
        other = RemovalTable()
        other.tasks, other.jobs = dict(self.tasks), dict(self.jobs)
        return other

    def note_ends(self, changes: Sequence[Change], answers: Sequence[Changed]) -> None:
        """List those that ended and have a time of their own."""
        for change, answer in zip(changes, answers, strict=True):
            if answer.applied and change.purge_at is not None:
                self.tasks[change.task_id] = change.purge_at


class MemoryRetention(MemoryCalls):
    """RetentionStore, and what else touches the list."""

    _tasks: TaskTable
    _jobs: JobTable
    _removals: RemovalTable
    _outputs: dict[StreamKey, bytearray]
    _files: dict[str, bytes]
    _file_owners: dict[str, str]
    _file_uses: dict[str, int]

    def purge(self, task_id: str, at: float, owner: str | None = None) -> Task | None:
        """See TaskStore."""
        return self._write("purge", lambda: self._purge(task_id, at, at, owner))

    def finish_job(self, job_id: str, at: float) -> None:
        """See JobStore."""
        self._write("finish_job", lambda: self._finish(job_id, at))

    def finished_tasks(
        self, state: State, after: tuple[float, str], created_before: float, limit: int
    ) -> Sequence[FinishedTask]:
        """See RetentionStore."""
        return self._read("finished_tasks", lambda: self._tasks.finished(state, after, created_before, limit))

    def finished_jobs(
        self, after: tuple[float, str], finished_before: float, limit: int
    ) -> Sequence[tuple[float, str]]:
        """See RetentionStore."""
        return self._read("finished_jobs", lambda: self._jobs.finished(after, finished_before, limit))

    def expire(self, at: float, *, tasks: Sequence[str] = (), jobs: Sequence[str] = ()) -> None:
        """See RetentionStore."""

        def apply() -> None:
            for listed, ids in ((self._removals.tasks, tasks), (self._removals.jobs, jobs)):
                for each in ids:
                    listed.setdefault(each, at)

        self._write("expire", apply)

    def look_again(
        self, *, tasks: Mapping[str, float] | None = None, jobs: Mapping[str, float] | None = None
    ) -> None:
        """See RetentionStore."""

        def apply() -> None:
            for listed, times in ((self._removals.tasks, tasks), (self._removals.jobs, jobs)):
                listed.update({each: at for each, at in (times or {}).items() if each in listed})

        self._write("look_again", apply)

    def due_tasks(self, at: float, limit: int) -> Sequence[DueTask]:
        """See RetentionStore."""
        return self._read(
            "due_tasks", lambda: [self._tasks.due(each) for each in _due(self._removals.tasks, at, limit)]
        )

    def due_jobs(self, at: float, limit: int, tasks_each: int) -> Sequence[DueJob]:
        """See RetentionStore."""
        return self._read(
            "due_jobs",
            lambda: [self._jobs.due(each, tasks_each) for each in _due(self._removals.jobs, at, limit)],
        )

    def oldest_open(self) -> float:
        """See RetentionStore."""
        return self._read("oldest_open", lambda: min(self._tasks.oldest_open(), self._jobs.oldest_open()))

    def purge_tasks(self, task_ids: Sequence[str], at: float, again_at: float) -> None:
        """See RetentionStore."""

        def apply() -> None:
            for task_id in task_ids:
                self._purge(task_id, at, again_at, None)
                self._removals.tasks[task_id] = again_at

        self._write("purge_tasks", apply)

    def forget_tasks(self, tasks: Sequence[DueTask]) -> None:
        """See RetentionStore."""

        def apply() -> None:
            for task in tasks:
                self._drop_output(task.task_id)
                if self._tasks.forget(task):
                    self._removals.tasks.pop(task.task_id, None)

        self._write("forget_tasks", apply)

    def forget_job(self, job_id: str) -> None:
        """See RetentionStore."""

        def apply() -> None:
            self._jobs.forget(job_id)
            self._removals.jobs.pop(job_id, None)

        self._write("forget_job", apply)

    def sweep_outputs(self, after: str, limit: int) -> str:
        """See RetentionStore."""

        def apply() -> str:
            seen = sorted({key.task_id for key in self._outputs if key.task_id > after})[:limit]
            for task_id in seen:
                if self._tasks.due(task_id).standing in (Standing.PURGED, Standing.GONE):
                    self._drop_output(task_id)
            return seen[-1] if len(seen) == limit else ""

        return self._write("sweep_outputs", apply)

    # --- files -----------------------------------------------------------------------------------

    def oldest_active(self) -> float:
        """See RetentionStore."""
        return self._read("oldest_active", lambda: self._tasks.oldest(ACTIVE))

    def files_unused_since(self, at: float, after: str, limit: int) -> tuple[Sequence[FileUse], str]:
        """See RetentionStore."""

        def look() -> tuple[Sequence[FileUse], str]:
            page = sorted(sha256 for sha256 in self._files if sha256 > after)[:limit]
            uses = [FileUse(sha256, str(self._file_uses[sha256])) for sha256 in page]
            return uses, page[-1] if len(page) == limit else ""

        return self._read("files_unused_since", look)

    def files_of_tasks(self, after: tuple[float, str], limit: int) -> FilePage:
        """See RetentionStore."""
        return self._read("files_of_tasks", lambda: self._tasks.files(after, limit))

    def files_of_jobs(self, after: tuple[float, str], limit: int) -> FilePage:
        """See RetentionStore."""
        return self._read("files_of_jobs", lambda: self._jobs.files(after, limit))

    def drop_file(self, use: FileUse) -> bool:
        """See RetentionStore."""

        def apply() -> bool:
            same = use.used == str(self._file_uses.get(use.sha256))
            if same:
                for table in (self._files, self._file_owners, self._file_uses):
                    table.pop(use.sha256, None)
            return same

        return self._write("drop_file", apply)

    def sweep_uploads(self, begun_before: float, after: str, limit: int) -> str:
        """See RetentionStore; here an upload is whole or not there."""
        return self._read("sweep_uploads", lambda: "")

    def _use(self, sha256s: Sequence[str]) -> int:
        """Mark those that are stored; how many are."""
        stored = [sha256 for sha256 in sha256s if sha256 in self._files]
        for sha256 in stored:
            self._file_uses[sha256] = self._file_uses.get(sha256, 0) + 1
        return len(stored)

    # --- within ----------------------------------------------------------------------------------

    def _purge(self, task_id: str, at: float, again_at: float, owner: str | None) -> Task | None:
        task = self._tasks.purge(task_id, at, owner)
        if task is not None and self._tasks.due(task_id).standing == Standing.PURGED:
            self._drop_output(task_id)
            self._removals.tasks[task_id] = again_at
        return task

    def _drop_output(self, task_id: str) -> None:
        for key in [key for key in self._outputs if key.task_id == task_id]:
            del self._outputs[key]

    def _finish(self, job_id: str, at: float) -> None:
        ttl_s = self._jobs.finish(job_id, at)
        if ttl_s is not None:
            self._removals.jobs[job_id] = at + ttl_s


def _due(listed: Mapping[str, float], at: float, limit: int) -> list[str]:
    found = sorted((when, each) for each, when in listed.items() if when <= at)
    return [each for _, each in found[:limit]]
