"""The contract of the durable store; `tests/store` holds both implementations to it.

Called from the threads of the actors that own it; every method blocks until a majority has the
write on disk, or raises. `Unavailable` means that nothing can be said now; `OutcomeUnknown` that a
write may have happened: read back by id, then decide (P2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from khala.core.access import Identity
from khala.core.changes import Change, Changed, Inserted
from khala.core.commands import SearchTasks, TaskCounts, TaskPage
from khala.core.jobs import Job, JobPage, SearchJobs
from khala.core.membership import SetMember
from khala.core.messages import QueuedTask
from khala.core.output import OutputChunk, StreamKey
from khala.core.people import AuditEntry, AuditPage, Quota, TokenView, Usage, UserView
from khala.core.task import Epoch, State, Task
from khala.store.retention import RetentionStore

QueueKey = tuple[float, str, int]


class TaskStore(Protocol):
    """Tasks and the leader's epoch."""

    def insert(self, tasks: Sequence[Task]) -> Sequence[Inserted]:
        """Store new tasks; answers in order. A task whose id exists is `repeated` when the stored owner and
        `request_digest` are equal and the digest is not empty, or else `conflict`; told only from a majority
        read."""
        ...

    def take_epoch(self, holder: str) -> Epoch:
        """Become the one holder of the next epoch of the current generation (P4)."""
        ...

    def commit(self, epoch: Epoch, changes: Sequence[Change]) -> Sequence[Changed]:
        """Apply all changes that still match, in one transaction guarded by `epoch` (P1).

        Answers in order, and shows tasks as the whole batch left them: one that was missed in view basic,
        a wanted one whole but for its result. Raises StaleEpoch (nothing written), Unavailable (nothing
        written) or OutcomeUnknown (all or nothing written). Bounded by the caller: at most 1,000 changes
        and 8 MiB.
        """
        ...

    def request_cancel(self, task_ids: Sequence[str], at: float, owner: str | None = None) -> Sequence[Task]:
        """Set `cancel_requested` (rev + 1, event `cancel_requested`) on those that are not finished; with
        `owner`, tasks of others do not exist.

        Returns the named tasks that exist as they now are, finished ones included, in view minimal and
        with what placement needs, so that a leader may first hear of a task by them; idempotent.
        """
        ...

    def amend(
        self,
        task_id: str,
        at: float,
        detail: str,
        *,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        owner: str | None = None,
    ) -> Task | None:
        """Change labels or priority of a task (of `owner`) that is not finished: rev + 1, event `amended`.

        The task as it now is, in view basic, or None; a finished one is as it was.
        """
        ...

    def purge(self, task_id: str, at: float, owner: str | None = None) -> Task | None:
        """Remove the output of a finished task (of `owner`), and put a tombstone in its place (P7).

        The task as it was, in view minimal, or None; one that is not finished stays. For `insert` the
        tombstone counts as the task; no read shows it. Done in part, it is soon due (`due_tasks`).
        """
        ...

    def read(self, task_ids: Sequence[str], view: str = "full") -> Sequence[Task]:
        """The tasks that exist, in any order, as a majority has them."""
        ...

    def standings(
        self, task_ids: Sequence[str], owner: str | None = None, *, needed_at: float | None = None
    ) -> Mapping[str, State]:
        """The states of those tasks (of `owner`) that exist or were purged, by id. With `needed_at`, others
        are to wait for them: a purged one counts as purged then."""
        ...

    def scan_queue(self, after: tuple[float, str], limit: int) -> Sequence[QueuedTask]:
        """Pending tasks ordered by (created_at, id) after the given key: what a new leader rebuilds from."""
        ...

    def scan_queue_keys(self, after: tuple[float, str], limit: int) -> Sequence[QueueKey]:
        """As `scan_queue`, but only (created_at, id, rev) of each: the leader's re-scan (P3)."""
        ...

    def scan_active(self, after: str, limit: int) -> Sequence[QueuedTask]:
        """Assigned and running tasks ordered by id after `after`: what a new leader rebuilds from."""
        ...

    def scan_cancels(self, limit: int) -> Sequence[QueuedTask]:
        """Tasks not finished whose cancel is requested, ordered by id (P3)."""
        ...

    def search(self, query: SearchTasks) -> TaskPage:
        """List tasks; raises Refusal for a malformed query or page token, and `too_large` when a list
        without a limit would have more than 100,000 tasks (10,000 in view basic, 1,000 in full)."""
        ...

    def counts(self, owner: str | None = None) -> Mapping[str, int]:
        """Tasks per state, of `owner` or of all; takes as long as it takes."""
        ...

    def counts_at_once(self, owner: str | None = None) -> TaskCounts:
        """The same without waiting: of many tasks, as they were counted last."""
        ...


class JobStore(Protocol):
    """Jobs. Their tasks are stored like any others; those of one job have neighbouring ids."""

    def insert_job(self, job: Job) -> str:
        """Store a new job: `created`, or `repeated` or `conflict` as with a task."""
        ...

    def jobs(self, job_ids: Sequence[str]) -> Sequence[Job]:
        """The jobs that exist, in the order asked, with their counts."""
        ...

    def search_jobs(self, query: SearchJobs) -> JobPage:
        """List jobs with their counts; Refusal for a malformed page token."""
        ...

    def open_jobs(self, after: tuple[float, str], limit: int) -> Sequence[Job]:
        """Jobs that are not finished, without counts, by (created_at, id) after a key."""
        ...

    def advance_job(self, job_id: str, created: int) -> Job | None:
        """The first `created` tasks exist; a smaller number than the stored one changes nothing. The job as
        it now is, without counts."""
        ...

    def request_job_cancel(self, job_id: str, reason: str, owner: str | None = None) -> Job | None:
        """Note that a job (of `owner`) is to end, unless it is finished; the job as it now is, or None."""
        ...

    def job_tasks(self, job: Job, states: Sequence[State], limit: int, after: str = "") -> Sequence[str]:
        """The ids of its tasks in these states after an id, by id."""
        ...

    def job_uncancelled(self, job: Job, limit: int) -> Sequence[str]:
        """The ids of its tasks that are neither finished nor asked to end."""
        ...

    def finish_job(self, job_id: str, at: float) -> None:
        """All of its tasks exist and are finished: note the time, and the counts for good."""
        ...


class FileStore(Protocol):
    """Content-addressed files. `sha256` is 64 lowercase hexadecimal digits."""

    def has_file(self, sha256: str) -> bool:
        """Is the whole file stored on a majority?"""
        ...

    def touch_files(self, sha256s: Sequence[str]) -> None:
        """These are used from now on, those of them that are stored (P6)."""
        ...

    def put_file(self, sha256: str, size: int, chunks: Iterator[bytes], owner: str = "") -> None:
        """Store a file; raises Refusal when digest or size disagree. Storing it again is harmless, and it
        stays with its first owner."""
        ...

    def read_file(self, sha256: str, offset: int, length: int) -> tuple[int, bytes]:
        """The file's whole size and at most `length` bytes from `offset`; Refusal `not_found`."""
        ...


class OutputStore(Protocol):
    """Output streams, each from its first byte on without a gap (P6)."""

    def generation(self) -> int:
        """The generation that output must be of (P4)."""
        ...

    def put_output(self, chunks: Sequence[OutputChunk]) -> Sequence[int]:
        """Store those chunks that begin where their stream ends, one after the other.

        Answers in order: where the chunk's stream ends after all of them. A chunk that is stored already, or
        lies beyond the end, changes nothing. Bounded by the caller: CHUNK_BYTES each, 8 MiB together.
        """
        ...

    def read_output(self, key: StreamKey, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; none beyond the end, or of an unknown stream."""
        ...

    def outputs_beyond(self, ends: Sequence[tuple[StreamKey, int]]) -> Sequence[StreamKey]:
        """Those of these streams that have more than so many bytes, where each number is an end that was
        seen (or 0): one question for many followers."""
        ...

    def output_sizes(self, keys: Sequence[StreamKey]) -> Sequence[int]:
        """How many bytes of each stream are stored, in order."""
        ...


class TokenStore(Protocol):
    """Access tokens, stored only as SHA-256 digests of the token text."""

    def create_first_token(self, digest: str, name: str, role: str) -> bool:
        """Store the cluster's first token; False (nothing stored) if any token exists already."""
        ...

    def create_token(self, digest: str, name: str, role: str) -> None:
        """Store one more token."""
        ...

    def role_of(self, digest: str) -> tuple[str, str] | None:
        """(name, role) of a stored token, or None."""
        ...


class PeopleStore(Protocol):
    """Users, their tokens, what they use, and the record of what they did. `at` is Unix seconds."""

    def identify(self, digest: str, at: float) -> Identity | None:
        """Who a token stands for; None if it is not known, has expired, or its user is gone."""
        ...

    def touch_token(self, digest: str, at: float) -> None:
        """Note that a token was used; at most once a minute is anything written."""
        ...

    def put_user(
        self, name: str, role: str, quota: Quota | None, at: float, *, create_only: bool = False
    ) -> UserView:
        """Make or change a user (see PutUser). Refusal `conflict` (`create_only`, and there is another),
        or `not_found` (no role given, and there is none)."""
        ...

    def users(self, name: str = "") -> Sequence[UserView]:
        """All users by name, or the one of this name; without usage."""
        ...

    def delete_user(self, name: str) -> UserView:
        """Remove a user, then their tokens; Refusal `not_found`."""
        ...

    def add_token(self, digest: str, token: TokenView) -> TokenView:
        """Store a token of an existing user; the same once more is harmless.

        The user's expired tokens go; at most `MOST_SESSIONS` sessions stay, the newest. Refusal
        `not_found` (the user), `conflict` (the digest), or `quota_exceeded` (too many tokens).
        """
        ...

    def tokens(self, user: str | None = None) -> Sequence[TokenView]:
        """The tokens of a user or of all people, the newest first; nodes' tokens are nobody's."""
        ...

    def revoke_token(self, id: str, user: str | None = None) -> TokenView:
        """Remove a token (of this user) and the sessions begun with it; Refusal `not_found`."""
        ...

    def usage(self, user: str) -> Usage:
        """What a user has now."""
        ...

    def running_limits(self) -> Mapping[str, int]:
        """Who may run only so many tasks at a time, and how many."""
        ...

    def append_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Add to the record."""
        ...

    def read_audit(self, user: str, limit: int, page_token: str) -> AuditPage:
        """See ListAudit; Refusal for a malformed page token."""
        ...

    def trim_audit(self, keep: int, before: float = 0.0) -> int:
        """Forget all but the newest `keep` entries, and those older than `before`; how many went."""
        ...


class ReplicaSetAdmin(Protocol):
    """The replica set behind a store (P19). Each change raises Unavailable when it cannot be made now,
    or may have been made: look at the members again. A member is named by its host:port."""

    def members(self) -> Sequence[SetMember]:
        """The members as the primary sees them; Unavailable without a primary."""
        ...

    def add(self, host: str) -> None:
        """Add a member without a vote."""
        ...

    def give_vote(self, host: str) -> None:
        """Let a member vote, and be elected."""
        ...

    def step_down(self) -> None:
        """Let another member be the primary."""
        ...

    def remove(self, host: str) -> None:
        """Take a member out."""
        ...


class Store(TaskStore, JobStore, FileStore, OutputStore, TokenStore, PeopleStore, RetentionStore, Protocol):
    """All of it, as one object that owns its connections."""

    def prepare(self, first_generation: int = 1) -> None:
        """Make or verify schema version, indexes and the epoch document; ConfigurationError if the
        stored schema is another version's. Idempotent.

        A store that is made by this call begins with `first_generation`: a new cluster gives its time
        of birth, so that it outranks any earlier cluster that its executors remember (P4)."""
        ...

    def cluster_id(self) -> str:
        """The id made when the store was first prepared; never changes."""
        ...

    def close(self) -> None:
        """Release the connections."""
        ...
