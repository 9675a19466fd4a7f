"""What a client may ask of a judicator, and what it answers: the RPC service `Judicator`.

Each command carries its `Caller`: judicators authorise, not only the gateway (P17).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from khala.core.task import Epoch, State, Task, TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: the bearer token as given, or empty on a cluster that was started open."""

    token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Are you there?"""

    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """A judicator's answer to Ping. `ready` means that it can accept tasks now."""

    judicator: str
    version: str
    ready: bool
    leader: str = ""
    epoch: Epoch = Epoch()
    secured: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """One task to create. A repeated `id` with the same digest is the same task (idempotency)."""

    id: str
    spec: TaskSpec
    request_digest: str = ""
    retried_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitTasks:
    """Store these tasks on a majority's disk, then acknowledge."""

    tasks: tuple[NewTask, ...]
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAccepted:
    """One task's answer: `error_code` is empty when it is stored (new, or by the same request before)."""

    task_id: str
    created: bool = True
    error_code: str = ""
    error_detail: str = ""
    error_field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksAccepted:
    """The answers to SubmitTasks, in its order."""

    results: tuple[TaskAccepted, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTasks:
    """Ask that these tasks end as cancelled; with `owner`, only those of this user."""

    task_ids: tuple[str, ...]
    caller: Caller = Caller()
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCancel:
    """One task's answer: requested, finished (too late; `state` says how) or not_found."""

    task_id: str
    answer: str
    state: State | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCancels:
    """The answers to CancelTasks, in its order."""

    results: tuple[TaskCancel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTasks:
    """Read tasks; with `wait_s`, answer when all of them are finished or the time is up.

    `view` is minimal (no specification, no events, of the result the verdict), basic (no result bytes,
    no inputs' content) or full. With `owner`, tasks of others do not exist.
    """

    task_ids: tuple[str, ...]
    view: str = "full"
    wait_s: float = 0.0
    caller: Caller = Caller()
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskViews:
    """The tasks that exist, in no promised order; those that do not are left out."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTasks:
    """List tasks by creation time. `offset` skips; `limit` 0 means all (KV2), else at most 1,000.

    None and empty strings mean "any"; times are Unix seconds, `created_before` exclusive.
    `page_token` continues after the last task of an earlier page. A job's tasks, which are all as old as it,
    come in their order or against it.
    """

    user: int | None = None
    states: tuple[State, ...] = ()
    name_prefix: str = ""
    executor: str = ""
    exit_reason: str = ""
    label: str = ""
    created_after: float | None = None
    created_before: float | None = None
    oldest_first: bool = False
    offset: int = 0
    limit: int = 100
    page_token: str = ""
    count_total: bool = False
    view: str = "minimal"
    caller: Caller = Caller()
    owner: str | None = None
    job_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """One page of SearchTasks. `total` is −1 unless it was asked for; that of many tasks may be some seconds
    old, or `at_least` that, as long as they have not been counted."""

    tasks: tuple[Task, ...]
    next_page_token: str = ""
    total: int = -1
    at_least: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListExecutors:
    """Which executors does the leader know? And, if it is named, where does the pending task `place_of`
    stand in the queue?"""

    caller: Caller = Caller()
    place_of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorView:
    """One executor as the leader sees it. `reported_at` is Unix seconds of the last report."""

    executor: str
    incarnation: str
    hostname: str = ""
    reported_at: float = 0.0
    slots: int = 0
    cpus: float = 0.0
    memory_bytes: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    load: float = 0.0
    draining: bool = False
    assigned: int = 0
    running: tuple[str, ...] = ()
    isolation: tuple[str, ...] = ()
    layers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlace:
    """Where a task stands in the queue.

    `before` is how many tasks of its owner come before it, None if it is not in the queue; if not `exact`,
    by a sample. `waiting` is how many tasks of everybody are in the queue.
    """

    task_id: str
    before: int | None = None
    exact: bool = True
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorViews:
    """The answer to ListExecutors; `place` if it named a task."""

    executors: tuple[ExecutorView, ...]
    place: QueuePlace | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListJudicators:
    """Which judicators are registered, and who leads?"""

    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class JudicatorView:
    """One registered judicator; `address` is host:port of its bus and RPC.

    `replica_state` is what its mongod is in the replica set (primary, secondary, …), `absent` when it
    is no member, or empty when the answering judicator does not know; `voting`: it counts in a majority of
    the replica set; `replica_lag_s`: how far it is behind the newest one, where that is known. `live`: its
    node runs; `leaving`: it is being removed.
    """

    name: str
    address: str
    leader: bool = False
    restarts: Mapping[str, int] = field(default_factory=dict)
    replica_state: str = ""
    live: bool = True
    leaving: bool = False
    voting: bool = True
    replica_lag_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudicatorViews:
    """The answer to ListJudicators."""

    judicators: tuple[JudicatorView, ...]
    epoch: Epoch = Epoch()


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveJudicator:
    """Take a judicator out of the cluster, live or not, if the others are a majority without it."""

    name: str
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class JudicatorRemoval:
    """The removal of this judicator has begun; the leader carries it out."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CountTasks:
    """How many tasks, of `owner` or of all, are in each state?"""

    caller: Caller = Caller()
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCounts:
    """Tasks per state; states with none are left out.

    `counted_at` is 0 or, where there are many tasks, the time (Unix seconds) that those are of that are over:
    what ended later, or was purged, is not in it. `at_least`: many, and they have not been counted yet.
    """

    counts: Mapping[str, int]
    counted_at: float = 0.0
    at_least: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The caller is wrong; nothing was changed."""

    code: str
    detail: str
    field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAvailable:
    """Not now: the same call may succeed after `retry_after_s` seconds."""

    detail: str
    retry_after_s: float = 1.0
    outcome_unknown: bool = False
