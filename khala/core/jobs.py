"""Jobs: one template and the values that make many tasks of it. Part of the RPC service `Judicator`.

A job's tasks are made from its document and its file of values (`khala.core.sweeps`), under ids that
follow from the job's: so whoever makes them, however often, makes the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from khala.core.commands import Caller
from khala.core.task import State, TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to create. A repeated `id` with the same digest is the same job (idempotency).

    `rows_file` is the stored file with the values of its `total` tasks. At most `max_parallel` of them
    run at a time (0: any number); once more than `max_failures` have failed (None: any number), the
    rest is cancelled.
    """

    id: str
    template: TaskSpec
    rows_file: str
    total: int
    name: str = ""
    names: tuple[str, ...] = ()
    max_parallel: int = 0
    max_failures: int | None = None
    request_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the store keeps it. The first `created` of its `total` tasks exist.

    `counts` has its tasks by state, where that was read; in a list it has no `template`. `reason` says
    why it was cancelled.
    """

    id: str
    template: TaskSpec | None = None
    rows_file: str
    total: int
    name: str = ""
    names: tuple[str, ...] = ()
    max_parallel: int = 0
    max_failures: int | None = None
    request_digest: str = ""
    owner: str = ""
    created_at: float = 0.0
    retried_from: str = ""
    created: int = 0
    cancel_requested: bool = False
    reason: str = ""
    finished_at: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateJob:
    """Store this job on a majority's disk, then acknowledge; its tasks are made from then on."""

    job: NewJob
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAccepted:
    """The answer to CreateJob and RetryJob; `created` is false when it was there before."""

    job: Job
    created: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GetJobs:
    """Read jobs with their counts; with `owner`, those of others do not exist."""

    job_ids: tuple[str, ...]
    caller: Caller = Caller()
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobViews:
    """The jobs that exist, in the order asked."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchJobs:
    """List jobs, the newest first, at most 1,000. `page_token` goes on after the last of an earlier page."""

    limit: int = 100
    page_token: str = ""
    caller: Caller = Caller()
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """One page of SearchJobs."""

    jobs: tuple[Job, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJob:
    """Ask that all tasks of a job end, those that are still to be made too; answered by JobViews."""

    job_id: str
    caller: Caller = Caller()
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryJob:
    """A new job of those tasks of a finished one that ended in one of `states`; see CreateJob for `id`."""

    job_id: str
    id: str
    states: tuple[State, ...] = (State.FAILED,)
    request_digest: str = ""
    caller: Caller = Caller()
    owner: str | None = None
