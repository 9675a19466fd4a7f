"""The in-memory twin's jobs: what each method of `JobStore` means, in its plainest form.

It owns one dictionary of frozen jobs and looks at the tasks beside it. `MemoryStore` holds its lock
around each call.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from khala.core.files import file_ids_of
from khala.core.jobs import Job, JobPage, SearchJobs
from khala.core.retention import DueJob, FilePage, Standing
from khala.core.sweeps import MAX_JOB_TASKS, task_id_of
from khala.core.task import TERMINAL, State, Task
from khala.store.memory_tasks import TaskTable
from khala.store.views import plan_jobs, read_page_token, token_of


class JobTable:
    """Jobs by id."""

    def __init__(self, tasks: TaskTable) -> None:
        self._tasks = tasks
        self._jobs: dict[str, Job] = {}

    def insert(self, job: Job) -> str:
        """A new one, or why not."""
        stored = self._jobs.setdefault(job.id, job)
        if stored is job:
            return "created"
        same = job.request_digest != "" and _request(job) == _request(stored)
        return "repeated" if same else "conflict"

    def read(self, job_ids: Sequence[str]) -> Sequence[Job]:
        """With counts."""
        return [self._counted(self._jobs[job_id]) for job_id in job_ids if job_id in self._jobs]

    def search(self, query: SearchJobs) -> JobPage:
        """The newest first."""
        limit = plan_jobs(query)
        found = sorted((j for j in self._jobs.values() if query.owner in (None, j.owner)), key=_key)[::-1]
        if query.page_token:
            after = read_page_token(query.page_token)
            found = [job for job in found if _key(job) < after]
        shown = tuple(replace(self._counted(job), template=None) for job in found[:limit])
        more = len(found) > limit
        return JobPage(jobs=shown, next_page_token=token_of(_key(shown[-1])) if more else "")

    def open(self, after: tuple[float, str], limit: int) -> Sequence[Job]:
        """By age."""
        found = sorted(
            (j for j in self._jobs.values() if j.finished_at is None and _key(j) > after), key=_key
        )
        return found[:limit]

    def advance(self, job_id: str, created: int) -> Job | None:
        """Never backwards."""
        job = self._jobs.get(job_id)
        if job is not None:
            job = self._jobs[job_id] = replace(job, created=max(job.created, created))
        return job

    def request_cancel(self, job_id: str, reason: str, owner: str | None) -> Job | None:
        """Once."""
        job = self._jobs.get(job_id)
        if job is None or owner not in (None, job.owner):
            return None
        if job.finished_at is None and not job.cancel_requested:
            job = self._jobs[job_id] = replace(job, cancel_requested=True, reason=reason)
        return self._counted(job)

    def tasks(self, job: Job, states: Sequence[State], limit: int, after: str) -> Sequence[str]:
        """By id."""
        ids = (task.id for task in self._of(job) if task.control.state in states and task.id > after)
        return sorted(ids)[:limit]

    def uncancelled(self, job: Job, limit: int) -> Sequence[str]:
        """Those that nobody asked to end."""
        unfinished = (task for task in self._of(job) if task.control.state not in TERMINAL)
        return [task.id for task in unfinished if not task.control.cancel_requested][:limit]

    def finish(self, job_id: str, at: float) -> float | None:
        """Once; for how long its owner wants it kept."""
        job = self._jobs[job_id]
        if job.finished_at is not None:
            return None
        self._jobs[job_id] = replace(self._counted(job), finished_at=at)
        return job.template.ttl_after_finished_s if job.template else None

    def oldest_open(self) -> float:
        """When it was made."""
        return min(
            (job.created_at for job in self._jobs.values() if job.finished_at is None), default=math.inf
        )

    def finished(
        self, after: tuple[float, str], finished_before: float, limit: int
    ) -> Sequence[tuple[float, str]]:
        """By when they were."""
        keys = ((job.finished_at, job.id) for job in self._jobs.values() if job.finished_at is not None)
        return sorted(key for key in keys if after < key and key[0] < finished_before)[:limit]

    def due(self, job_id: str, tasks_each: int) -> DueJob:
        """How one stands on its way out."""
        job = self._jobs.get(job_id)
        if job is None:
            return DueJob(job_id=job_id, standing=Standing.GONE)
        if job.finished_at is None:
            return DueJob(job_id=job_id, standing=Standing.OPEN)
        left = self._tasks.has_any(task_id_of(job_id, 0), task_id_of(job_id, MAX_JOB_TASKS))
        tasks = tuple(task.id for task in self._of(job) if task.control.state in TERMINAL)[:tasks_each]
        return DueJob(job_id=job_id, standing=Standing.FINISHED, tasks=tasks, has_left=left)

    def files(self, after: tuple[float, str], limit: int) -> FilePage:
        """What a page of them refers to."""
        page = sorted((job for job in self._jobs.values() if _key(job) > after), key=_key)[:limit]
        needed = {sha256 for job in page if job.template for sha256 in file_ids_of(job.template)}
        last = _key(page[-1]) if page and len(page) == limit else None
        return FilePage(sha256s=frozenset(needed | {job.rows_file for job in page}), last=last)

    def forget(self, job_id: str) -> None:
        """A finished one."""
        job = self._jobs.get(job_id)
        if job is not None and job.finished_at is not None:
            del self._jobs[job_id]

    def _counted(self, job: Job) -> Job:
        if job.finished_at is not None:
            return job
        return replace(job, counts=Counter(task.control.state.value for task in self._of(job)))

    def _of(self, job: Job) -> Iterator[Task]:
        return (
            task
            for task in self._tasks.between(task_id_of(job.id, 0), task_id_of(job.id, MAX_JOB_TASKS))
            if task.job_id == job.id
        )


def _key(job: Job) -> tuple[float, str]:
    return job.created_at, job.id


def _request(job: Job) -> tuple[str, str]:
    return job.owner, job.request_digest
