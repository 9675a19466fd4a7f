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
    `page_token` continues after the last task of an earlier page.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """One page of SearchTasks. `total` is −1 unless it was asked for."""

    tasks: tuple[Task, ...]
    next_page_token: str = ""
    total: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ListExecutors:
    """Which executors does the leader know?"""

    caller: Caller = Caller()


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
class ExecutorViews:
    """The answer to ListExecutors."""

    executors: tuple[ExecutorView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListJudicators:
    """Which judicators are registered, and who leads?"""

    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class JudicatorView:
    """One registered judicator; `address` is host:port of its bus and RPC.

    `replica_state` is what its mongod is in the replica set (primary, secondary, …), `absent` when it
    is no member, or empty when the answering judicator does not know. `live`: its node runs;
    `leaving`: it is being removed.
    """

    name: str
    address: str
    leader: bool = False
    restarts: Mapping[str, int] = field(default_factory=dict)
    replica_state: str = ""
    live: bool = True
    leaving: bool = False


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
    """Tasks per state; states with none are left out."""

    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PutFileChunk:
    """A part of a file, at most 1 MiB, sent in order; the last one completes and verifies it.

    `upload_id` is chosen by the sender and names one upload.
    """

    upload_id: str
    sha256: str
    size: int
    offset: int
    data: bytes
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStored:
    """The answer to PutFileChunk. `complete` once the whole file is on a majority's disk."""

    sha256: str
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GetFileChunk:
    """Read at most `length` bytes (1 MiB) of a stored file from `offset`."""

    sha256: str
    offset: int
    length: int
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChunk:
    """A part of a stored file and the file's whole size."""

    sha256: str
    size: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOutput:
    """Bytes of an attempt's output stream, at most 512 KiB, from `offset` on; only executors may.

    Without bytes it asks how far the stream is stored. Sending a chunk again is harmless. `epoch` is the
    assignment's: output of another generation is refused, for its attempt's number may be used anew (P4).
    """

    task_id: str
    attempt: int
    phase: str
    stream: str
    offset: int
    data: bytes
    caller: Caller = Caller()
    epoch: Epoch = Epoch()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStored:
    """The answer to PutOutput: all bytes before `next_offset` are on a majority's disk."""

    next_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOutput:
    """Read at most `length` bytes (512 KiB) of an output stream from `offset`; `attempt` 0 is the newest.

    With `wait_s`, answer when there is more than `offset`, or the attempt is over, or the time is up. With
    `owner`, tasks of others do not exist.
    """

    task_id: str
    attempt: int
    phase: str
    stream: str
    offset: int
    length: int
    wait_s: float = 0.0
    caller: Caller = Caller()
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPart:
    """A part of an attempt's output stream.

    `size` is how much of it can be read so far; `complete` says that there will be no more. `written`
    is how much the task wrote in all: more than `size` when the rest was not kept, and 0 while that is
    not known. `state` is the task's, `newest` its newest attempt.
    """

    attempt: int
    offset: int
    data: bytes
    size: int
    complete: bool = False
    written: int = 0
    state: str = ""
    newest: int = 0


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
