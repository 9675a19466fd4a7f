"""What a task is: what its owner asked for, where it stands, and what came of it.

Plain frozen values, shared by every package. Times are Unix seconds (UTC) as floats, durations are
seconds, sizes are bytes. `TaskControl` is the small part that changes while a task lives; only
`khala.core.lifecycle` makes a new one from an old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from khala.core.checking import DEFAULT_TOLERANCE, Checker, Difference
from khala.core.dependencies import Dependency


class State(StrEnum):
    """Where a task stands. A cancel request is a field, not a state."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
ACTIVE = frozenset({State.ASSIGNED, State.RUNNING})


class Phase(StrEnum):
    """The part of an attempt that runs now, or that ran last."""

    COMPILE = "compile"
    EXECUTE = "execute"


class ExitReason(StrEnum):
    """Why a task ended (api.md, section 1)."""

    EXITED = "exited"
    SIGNALED = "signaled"
    WALL_TIME_LIMIT = "wall_time_limit"
    CPU_TIME_LIMIT = "cpu_time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    DISK_LIMIT = "disk_limit"
    FILE_SIZE_LIMIT = "file_size_limit"
    PROCESS_LIMIT = "process_limit"
    SETUP_FAILED = "setup_failed"
    EXECUTOR_LOST = "executor_lost"
    CRASH_LIMIT = "crash_limit"
    DEPENDENCY_FAILED = "dependency_failed"
    QUEUE_TIMEOUT = "queue_timeout"
    CANCELLED = "cancelled"
    INTERNAL_ERROR = "internal_error"


RETRY_ON = (ExitReason.EXECUTOR_LOST,)


class Verdict(StrEnum):
    """Is what a task did right? Kept apart from its state; decided by `khala.core.verdict`."""

    ACCEPTED = "accepted"
    WRONG_ANSWER = "wrong_answer"
    TIME_LIMIT_EXCEEDED = "time_limit_exceeded"
    MEMORY_LIMIT_EXCEEDED = "memory_limit_exceeded"
    OUTPUT_LIMIT_EXCEEDED = "output_limit_exceeded"
    RUNTIME_ERROR = "runtime_error"
    COMPILATION_ERROR = "compilation_error"
    NOT_JUDGED = "not_judged"


class OnDisconnect(StrEnum):
    """What a cut-off executor does with a running attempt (P11)."""

    CONTINUE = "continue"
    STOP = "stop"


class Isolation(StrEnum):
    """How far a task is kept away from its host and its neighbours (docs/isolation.md)."""

    NONE = "none"
    BASIC = "basic"
    STRICT = "strict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one phase. None or 0 means unlimited.

    `processes` counts threads too. `output_bytes` bounds stdout and stderr together, `disk_bytes` all
    that lies in the workspace, `file_size_bytes` each single file.
    """

    wall_time_s: float | None = None
    cpu_time_s: float | None = None
    memory_bytes: int | None = None
    processes: int | None = None
    open_files: int | None = None
    file_size_bytes: int | None = None
    output_bytes: int | None = None
    disk_bytes: int | None = None


LIMIT_FIELDS = {
    "wall_time": "wall_time_s",
    "cpu_time": "cpu_time_s",
    "memory": "memory_bytes",
    "processes": "processes",
    "open_files": "open_files",
    "file_size": "file_size_bytes",
    "output_size": "output_bytes",
    "disk": "disk_bytes",
}
"""The names of limits in the HTTP API, and the fields that hold them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One phase's command: either `shell`, run by `bash -c`, or `argv`, run as it is."""

    shell: str = ""
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    stdin_file: str = ""
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A file put into the workspace: inline `content`, or a stored file's sha256 as `file_id`."""

    path: str
    content: bytes = b""
    file_id: str = ""
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A stored archive (zip, tar, tar.gz) that is extracted under `path` of the workspace ("" is its top)."""

    file_id: str
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputGlob:
    """Which files of the workspace to keep after the run (`khala.core.globs`); one at least if `needed`."""

    glob: str
    needed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file that was kept: where it lay in the workspace, and its content as a stored file's sha256."""

    path: str
    size: int
    sha256: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a task occupies while it runs."""

    cpus: float = 1.0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """What the owner asked for; never changes after the task was accepted.

    An attempt that ended for one of the reasons `retry_on` is made again, `backoff_s` seconds later, and
    twice as late each time, until it was started `max_attempts` times.
    """

    name: str = ""
    user: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    inputs: tuple[InputFile, ...] = ()
    archives: tuple[Archive, ...] = ()
    compile: Command | None = None
    execute: Command | None = None
    resources: Resources = Resources()
    constraints: Mapping[str, str] = field(default_factory=dict)
    expected_output: bytes | None = None
    max_attempts: int = 5
    on_disconnect: OnDisconnect = OnDisconnect.CONTINUE
    isolation: Isolation = Isolation.BASIC
    network: bool = False
    outputs: tuple[OutputGlob, ...] = ()
    checker: Checker = Checker.TRIM
    checker_tolerance: float = DEFAULT_TOLERANCE
    retry_on: tuple[ExitReason, ...] = RETRY_ON
    backoff_s: float = 0.0
    queue_timeout_s: float | None = None
    ttl_after_finished_s: float | None = None
    depends_on: tuple[Dependency, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCapture:
    """What is kept of one output stream: its head and its tail, and its true size in bytes.

    A stream that fits into both has all of it in `head`, and an empty `tail`. Of a longer one the first
    `stored_bytes` bytes, whose digest is `sha256`, are in the store as well (0: nothing is). `truncated`:
    more was written than is kept anywhere.
    """

    size: int = 0
    head: bytes = b""
    tail: bytes = b""
    truncated: bool = False
    stored_bytes: int = 0
    sha256: str = ""

    @property
    def left_out(self) -> int:
        """How many bytes are between head and tail."""
        return self.size - len(self.head) - len(self.tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseResult:
    """How one phase went. `exit_code` is None when a signal ended it, and the other way round."""

    exit_reason: ExitReason
    exit_code: int | None = None
    signal: int | None = None
    started_at: float = 0.0
    wall_time_s: float = 0.0
    cpu_user_s: float = 0.0
    cpu_system_s: float = 0.0
    max_rss_bytes: int = 0
    stdout: StreamCapture = StreamCapture()
    stderr: StreamCapture = StreamCapture()
    max_memory_bytes: int = 0
    max_processes: int = 0
    disk_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of an attempt, phase by phase; a phase that did not run is None.

    `enforced` names the layers and limits that really held, such as `uid`, `cgroup`, `memory`.
    `difference` is where the output was wrong, if it was.
    """

    compile: PhaseResult | None = None
    execute: PhaseResult | None = None
    enforced: tuple[str, ...] = ()
    outputs: tuple[OutputFile, ...] = ()
    verdict: Verdict = Verdict.NOT_JUDGED
    difference: Difference | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of one attempt, as its executor saw it."""

    exit_reason: ExitReason
    succeeded: bool = False
    reason: str = ""
    phase: Phase | None = None
    result: Result | None = None
    finished_at: float = 0.0


@dataclass(frozen=True, slots=True, order=True)
class Epoch:
    """The number of a leadership. A new generation outranks every epoch of an older one (P4)."""

    generation: int = 0
    number: int = 0

    def shares_generation(self, other: Epoch) -> bool:
        """May what was given under one be told under the other? Generation 0 is what a version before says,
        which names none (P16)."""
        return self.generation == other.generation or not (self.generation and other.generation)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskControl:
    """The part of a task that changes. `rev` counts the changes, without a gap; before `not_before` it is
    not assigned."""

    rev: int = 1
    state: State = State.PENDING
    attempt: int = 0
    starts: int = 0
    losses: int = 0
    executor: str = ""
    incarnation: str = ""
    phase: Phase | None = None
    cancel_requested: bool = False
    exit_reason: ExitReason | None = None
    reason: str = ""
    queued_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    not_before: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The part of a task that its leader needs; small, for it is kept in memory."""

    priority: int = 0
    created_at: float = 0.0
    cpus: float = 1.0
    memory_bytes: int = 0
    constraints: Mapping[str, str] = field(default_factory=dict)
    max_attempts: int = 5
    on_disconnect: OnDisconnect = OnDisconnect.CONTINUE
    isolation: Isolation = Isolation.BASIC
    owner: str = ""
    job_id: str = ""
    max_parallel: int = 0
    retry_on: tuple[ExitReason, ...] = RETRY_ON
    backoff_s: float = 0.0
    queue_timeout_s: float | None = None
    depends_on: tuple[Dependency, ...] = ()
    ttl_after_finished_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent:
    """One line of a task's story, written in the same write as the change itself."""

    rev: int
    kind: str
    at: float
    from_state: State
    to_state: State
    attempt: int = 0
    epoch: Epoch = Epoch()
    executor: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A whole task as the store keeps it.

    `id` is 24 hexadecimal digits. `request_digest` tells a repeated request with the same
    idempotency key from another request that reuses the key. A job's task has its `job_id`, its place
    in it, and how many of them may run at a time (0: any number).
    """

    id: str
    spec: TaskSpec
    owner: str = ""
    created_at: float = 0.0
    request_digest: str = ""
    retried_from: str = ""
    control: TaskControl = TaskControl()
    result: Result | None = None
    events: tuple[TaskEvent, ...] = ()
    job_id: str = ""
    job_index: int = 0
    max_parallel: int = 0


def demand_of(task: Task) -> Demand:
    """The part of `task` that placement needs."""
    spec = task.spec
    return Demand(
        priority=spec.priority,
        created_at=task.created_at,
        cpus=spec.resources.cpus,
        memory_bytes=spec.resources.memory_bytes,
        constraints=spec.constraints,
        max_attempts=spec.max_attempts,
        on_disconnect=spec.on_disconnect,
        isolation=spec.isolation,
        owner=task.owner,
        job_id=task.job_id,
        max_parallel=task.max_parallel,
        retry_on=spec.retry_on,
        backoff_s=spec.backoff_s,
        queue_timeout_s=spec.queue_timeout_s,
        depends_on=spec.depends_on,
        ttl_after_finished_s=spec.ttl_after_finished_s,
    )
