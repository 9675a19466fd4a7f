"""The in-memory twin of the MongoDB store: tests and the deterministic simulation run on it.

It owns plain dictionaries behind one lock; any thread may call. It has no clock, no thread and no
randomness: trouble comes only from `faults`, which is asked with the method's name before each call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from khala.core.access import Identity
from khala.core.changes import Change, Changed, Inserted
from khala.core.commands import SearchTasks, TaskCounts, TaskPage
from khala.core.jobs import Job, JobPage, SearchJobs
from khala.core.messages import QueuedTask
from khala.core.output import OutputChunk, StreamKey
from khala.core.people import AuditEntry, AuditPage, Quota, TokenView, Usage, UserView
from khala.core.task import ACTIVE, Epoch, State, Task, TaskEvent
from khala.errors import ConfigurationError
from khala.store import people
from khala.store.digests import check_sha256, not_stored, verified
from khala.store.guards import check_changes, stale
from khala.store.interface import QueueKey
from khala.store.memory_calls import Faults, MemoryCalls, no_faults
from khala.store.memory_jobs import JobTable
from khala.store.memory_people import PeopleTable
from khala.store.memory_retention import MemoryRetention, RemovalTable
from khala.store.memory_tasks import TaskTable


@dataclass(frozen=True, slots=True)
class MemoryBackup:
    """What a restored store has of an earlier one, which was of that generation."""

    generation: int
    tasks: TaskTable
    outputs: Mapping[StreamKey, bytes]
    removals: RemovalTable


class MemoryStore(MemoryRetention):
    """`khala.store.interface.Store` in memory.

    With `record_history`, `history` lists (epoch of the guarded batch, task id, event) in the order in
    which they were committed; inserts and cancel requests are not guarded and carry Epoch().
    """

    def __init__(
        self, *, faults: Faults = no_faults, cluster_id: str = "in-memory", record_history: bool = False
    ) -> None:
        self.history: list[tuple[Epoch, str, TaskEvent]] = []
        MemoryCalls.__init__(self, faults)
        self._cluster_id = cluster_id
        self._tasks = TaskTable(self.history.append if record_history else None)
        self._jobs = JobTable(self._tasks)
        self._removals = RemovalTable()
        self._people = PeopleTable()
        self._files: dict[str, bytes] = {}
        self._file_owners: dict[str, str] = {}
        self._file_uses: dict[str, int] = {}
        self._outputs: dict[StreamKey, bytearray] = {}
        self._epoch = Epoch()
        self.holder = ""

    # --- tasks -----------------------------------------------------------------------------------

    def insert(self, tasks: Sequence[Task]) -> Sequence[Inserted]:
        """See TaskStore."""
        return self._write("insert", lambda: [self._tasks.insert(task) for task in tasks])

    def take_epoch(self, holder: str) -> Epoch:
        """See TaskStore."""
        return self._write("take_epoch", lambda: self._next_epoch(holder))

    def commit(self, epoch: Epoch, changes: Sequence[Change]) -> Sequence[Changed]:
        """See TaskStore."""
        check_changes(changes)
        return self._write("commit", lambda: self._guarded(epoch, changes))

    def request_cancel(self, task_ids: Sequence[str], at: float, owner: str | None = None) -> Sequence[Task]:
        """See TaskStore; in the order of `task_ids`."""
        return self._write("request_cancel", lambda: self._tasks.request_cancel(task_ids, at, owner))

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
        """See TaskStore."""
        return self._write("amend", lambda: self._tasks.amend(task_id, at, detail, labels, priority, owner))

    def read(self, task_ids: Sequence[str], view: str = "full") -> Sequence[Task]:
        """See TaskStore; in the order of `task_ids`."""
        return self._read("read", lambda: self._tasks.read(task_ids, view))

    def standings(
        self, task_ids: Sequence[str], owner: str | None = None, *, needed_at: float | None = None
    ) -> Mapping[str, State]:
        """See TaskStore."""
        return self._read("standings", lambda: self._tasks.standings(task_ids, owner, needed_at))

    def scan_queue(self, after: tuple[float, str], limit: int) -> Sequence[QueuedTask]:
        """See TaskStore."""
        return self._read("scan_queue", lambda: self._tasks.scan_queue(after, limit))

    def scan_queue_keys(self, after: tuple[float, str], limit: int) -> Sequence[QueueKey]:
        """See TaskStore."""
        return self._read("scan_queue_keys", lambda: self._tasks.scan_queue_keys(after, limit))

    def scan_active(self, after: str, limit: int) -> Sequence[QueuedTask]:
        """See TaskStore."""
        return self._read("scan_active", lambda: self._tasks.scan_active(after, limit))

    def scan_cancels(self, limit: int) -> Sequence[QueuedTask]:
        """See TaskStore."""
        return self._read("scan_cancels", lambda: self._tasks.scan_cancels(limit))

    def search(self, query: SearchTasks) -> TaskPage:
        """See TaskStore."""
        return self._read("search", lambda: self._tasks.search(query))

    def counts(self, owner: str | None = None) -> Mapping[str, int]:
        """See TaskStore."""
        return self._read("counts", lambda: self._tasks.counts(owner))

    def counts_at_once(self, owner: str | None = None) -> TaskCounts:
        """See TaskStore."""
        return TaskCounts(counts=self.counts(owner))

    # --- jobs ------------------------------------------------------------------------------------

    def insert_job(self, job: Job) -> str:
        """See JobStore."""
        return self._write("insert_job", lambda: self._jobs.insert(job))

    def jobs(self, job_ids: Sequence[str]) -> Sequence[Job]:
        """See JobStore."""
        return self._read("jobs", lambda: self._jobs.read(job_ids))

    def search_jobs(self, query: SearchJobs) -> JobPage:
        """See JobStore."""
        return self._read("search_jobs", lambda: self._jobs.search(query))

    def open_jobs(self, after: tuple[float, str], limit: int) -> Sequence[Job]:
        """See JobStore."""
        return self._read("open_jobs", lambda: self._jobs.open(after, limit))

    def advance_job(self, job_id: str, created: int) -> Job | None:
        """See JobStore."""
        return self._write("advance_job", lambda: self._jobs.advance(job_id, created))

    def request_job_cancel(self, job_id: str, reason: str, owner: str | None = None) -> Job | None:
        """See JobStore."""
        return self._write("request_job_cancel", lambda: self._jobs.request_cancel(job_id, reason, owner))

    def job_tasks(self, job: Job, states: Sequence[State], limit: int, after: str = "") -> Sequence[str]:
        """See JobStore."""
        return self._read("job_tasks", lambda: self._jobs.tasks(job, states, limit, after))

    def job_uncancelled(self, job: Job, limit: int) -> Sequence[str]:
        """See JobStore."""
        return self._read("job_uncancelled", lambda: self._jobs.uncancelled(job, limit))

    # --- files -----------------------------------------------------------------------------------

    def has_file(self, sha256: str) -> bool:
        """See FileStore."""
        check_sha256(sha256)
        return self._read("has_file", lambda: self._use([sha256]) == 1)

    def touch_files(self, sha256s: Sequence[str]) -> None:
        """See FileStore."""
        self._write("touch_files", lambda: self._use(sha256s))

    def put_file(self, sha256: str, size: int, chunks: Iterator[bytes], owner: str = "") -> None:
        """See FileStore."""
        check_sha256(sha256)
        content = b"".join(verified(sha256, size, chunks))

        def put() -> None:
            self._files.setdefault(sha256, content)
            self._file_owners.setdefault(sha256, owner)
            self._use([sha256])

        self._write("put_file", put)

    def read_file(self, sha256: str, offset: int, length: int) -> tuple[int, bytes]:
        """See FileStore."""
        check_sha256(sha256)
        content = self._read("read_file", lambda: self._files.get(sha256))
        if content is None:
            raise not_stored(sha256)
        begin = max(offset, 0)
        return len(content), content[begin : begin + max(length, 0)]

    # --- output ----------------------------------------------------------------------------------

    def generation(self) -> int:
        """See OutputStore."""
        return self._read("generation", lambda: self._epoch.generation)

    def put_output(self, chunks: Sequence[OutputChunk]) -> Sequence[int]:
        """See OutputStore."""
        return self._write("put_output", lambda: self._append(chunks))

    def read_output(self, key: StreamKey, offset: int, length: int) -> bytes:
        """See OutputStore."""
        begin = max(offset, 0)
        return self._read(
            "read_output", lambda: bytes(self._outputs.get(key, b"")[begin : begin + max(length, 0)])
        )

    def outputs_beyond(self, ends: Sequence[tuple[StreamKey, int]]) -> Sequence[StreamKey]:
        """See OutputStore."""
        return self._read(
            "outputs_beyond", lambda: [key for key, end in ends if len(self._outputs.get(key, b"")) > end]
        )

    def output_sizes(self, keys: Sequence[StreamKey]) -> Sequence[int]:
        """See OutputStore."""
        return self._read("output_sizes", lambda: [len(self._outputs.get(key, b"")) for key in keys])

    def _append(self, chunks: Sequence[OutputChunk]) -> Sequence[int]:
        for chunk in chunks:
            stream = self._outputs.setdefault(chunk.key, bytearray())
            if chunk.offset == len(stream):
                stream += chunk.data
        return [len(self._outputs[chunk.key]) for chunk in chunks]

    # --- tokens ----------------------------------------------------------------------------------

    def create_first_token(self, digest: str, name: str, role: str) -> bool:
        """See TokenStore."""
        return self._write("create_first_token", lambda: self._people.create_first(digest, name, role))

    def create_token(self, digest: str, name: str, role: str) -> None:
        """See TokenStore; Refusal `conflict` if the digest is another token's."""
        self._write("create_token", lambda: self._people.create(digest, name, role))

    def role_of(self, digest: str) -> tuple[str, str] | None:
        """See TokenStore."""
        return self._read("role_of", lambda: self._people.role_of(digest))

    # --- people ----------------------------------------------------------------------------------

    def identify(self, digest: str, at: float) -> Identity | None:
        """See PeopleStore."""
        return self._read("identify", lambda: self._people.identify(digest, at))

    def touch_token(self, digest: str, at: float) -> None:
        """See PeopleStore."""
        self._write("touch_token", lambda: self._people.touch(digest, at))

    def put_user(
        self, name: str, role: str, quota: Quota | None, at: float, *, create_only: bool = False
    ) -> UserView:
        """See PeopleStore."""
        return self._write("put_user", lambda: self._people.put_user(name, role, quota, at, create_only))

    def users(self, name: str = "") -> Sequence[UserView]:
        """See PeopleStore."""
        return self._read("users", lambda: self._people.users(name))

    def delete_user(self, name: str) -> UserView:
        """See PeopleStore."""
        return self._write("delete_user", lambda: self._people.delete_user(name))

    def add_token(self, digest: str, token: TokenView) -> TokenView:
        """See PeopleStore."""
        return self._write("add_token", lambda: self._people.add_token(digest, token))

    def tokens(self, user: str | None = None) -> Sequence[TokenView]:
        """See PeopleStore."""
        return self._read("tokens", lambda: self._people.tokens(user))

    def revoke_token(self, id: str, user: str | None = None) -> TokenView:
        """See PeopleStore."""
        return self._write("revoke_token", lambda: self._people.revoke(id, user))

    def usage(self, user: str) -> Usage:
        """See PeopleStore."""
        return self._read("usage", lambda: self._usage(user))

    def running_limits(self) -> Mapping[str, int]:
        """See PeopleStore."""
        return self._read("running_limits", lambda: people.limits_of(self._people.users("")))

    def append_audit(self, entries: Sequence[AuditEntry]) -> None:
        """See PeopleStore."""
        self._write("append_audit", lambda: self._people.append(entries))

    def read_audit(self, user: str, limit: int, page_token: str) -> AuditPage:
        """See PeopleStore."""
        return self._read("read_audit", lambda: self._people.read_audit(user, limit, page_token))

    def trim_audit(self, keep: int, before: float = 0.0) -> int:
        """See PeopleStore."""
        return self._write("trim_audit", lambda: self._people.trim(keep, before))

    def _usage(self, user: str) -> Usage:
        states = self._tasks.counts(user)
        return Usage(
            queued=states.get(State.PENDING, 0),
            running=sum(states.get(state, 0) for state in ACTIVE),
            stored_bytes=sum(
                len(self._files[sha256]) for sha256, owner in self._file_owners.items() if owner == user
            ),
        )

    # --- backups ---------------------------------------------------------------------------------

    def backup(self) -> MemoryBackup:
        """Tasks and output as they are now."""
        with self._lock:
            outputs = {key: bytes(stream) for key, stream in self._outputs.items()}
            return MemoryBackup(self._epoch.generation, self._tasks.copy(), outputs, self._removals.copy())

    def restore(self, backup: MemoryBackup) -> int:
        """Be as the backup is, in a new generation (P4), which is the answer. As with real ones, nobody else
        works on the store meanwhile."""
        with self._lock:
            self._tasks, self._removals = backup.tasks.copy(), backup.removals.copy()
            self._outputs = {key: bytearray(stream) for key, stream in backup.outputs.items()}
            self._epoch, self.holder = Epoch(self._epoch.generation + 1, 0), ""
            return self._epoch.generation

    # --- the whole -------------------------------------------------------------------------------

    def prepare(self, first_generation: int = 1) -> None:
        """See Store."""
        self._write("prepare", lambda: self._begin(first_generation))

    def cluster_id(self) -> str:
        """See Store."""
        return self._cluster_id

    def close(self) -> None:
        """See Store; what is stored stays, so that a simulated node can open it again."""

    def _begin(self, first_generation: int) -> None:
        if self._epoch.generation == 0:
            self._epoch = Epoch(first_generation, 0)

    def _next_epoch(self, holder: str) -> Epoch:
        if self._epoch.generation == 0:
            raise ConfigurationError("the store was never prepared: call prepare first")
        self._epoch = replace(self._epoch, number=self._epoch.number + 1)
        self.holder = holder
        return self._epoch

    def _guarded(self, epoch: Epoch, changes: Sequence[Change]) -> Sequence[Changed]:
        if epoch != self._epoch:
            raise stale(epoch)
        answers = self._tasks.commit(epoch, changes)
        self._removals.note_ends(changes, answers)
        return answers
