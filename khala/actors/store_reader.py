"""Reads for the scheduler and for clients, each in the thread of its own actor, which blocks in the store.

Every question gets an answer, also when the store has none: who asked decides when to ask again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from khala.actors.actor import NodeActor, Stage
from khala.actors.answering import reply_of
from khala.actors.leader_messages import (
    ActiveScanned,
    LookUpTasks,
    ReadFailed,
    RereadTasks,
    ScanActive,
    ScanWaiting,
    TasksLookedUp,
    TasksReread,
    WaitingScanned,
)
from khala.actors.messages import (
    AnswerQuery,
    Began,
    CallsAnswered,
    CheckFinished,
    CheckToken,
    FinishedChecked,
    Flush,
    TokenChecked,
)
from khala.bus.envelope import Envelope
from khala.core.access import ROLES
from khala.core.commands import (
    CountTasks,
    GetTasks,
    NotAvailable,
    SearchTasks,
    TaskViews,
)
from khala.core.jobs import GetJobs, JobViews, SearchJobs
from khala.core.messages import QueuedTask
from khala.core.task import TERMINAL, Task
from khala.core.transfers import FileChunk, GetFileChunk
from khala.errors import Fault, KhalaError, Refusal, Unavailable
from khala.store.interface import QueueKey, Store

SCHEDULER_READER = "scheduler-reader"
ACTIVE_PAGE = 5_000
WAITING_PAGE = 2_000
KEYS_PAGE = 5_000
FEW_TASKS, GETS_AT_ONCE = 2, 32
CANCELS_PAGE = 1_000
MOST_JOBS = 100
FILE_CHUNK_BYTES = 1 << 20


class StoreReader(NodeActor):
    """`scheduler-reader` reads for the scheduler; the others for the front door and its clients."""

    def __init__(self, stage: Stage, *, name: str, store: Store) -> None:
        super().__init__(stage, name)
        self._store = store
        self._gets: list[Envelope] = []

    def begin(self) -> None:
        """What was asked of an earlier reader of this name may be lost."""
        self.tell("scheduler" if self.name == SCHEDULER_READER else "judicator", Began(self.name))

    # --- for the scheduler -----------------------------------------------------------------------

    def handle_reread_tasks(self, wanted: RereadTasks, envelope: Envelope) -> None:
        """Whole tasks, for the scheduler to adopt."""
        try:
            found = self._store.read(wanted.task_ids)
        except Unavailable as why:
            self._cannot(wanted, why)
        else:
            self.tell("scheduler", TasksReread(wanted.epoch, wanted.task_ids, found))

    def handle_scan_active(self, wanted: ScanActive, envelope: Envelope) -> None:
        """A page of what a new leader rebuilds from."""
        try:
            tasks = self._store.scan_active(wanted.after, ACTIVE_PAGE)
            limits = self._store.running_limits()
        except Unavailable as why:
            self._cannot(wanted, why)
        else:
            done = len(tasks) < ACTIVE_PAGE
            self.tell("scheduler", ActiveScanned(wanted.epoch, wanted.after, tasks, done, limits))

    def handle_scan_waiting(self, wanted: ScanWaiting, envelope: Envelope) -> None:
        """A page of what a new leader rebuilds from, or of the leader's re-scan (P3)."""
        tasks: Sequence[QueuedTask] = ()
        keys: Sequence[QueueKey] = ()
        try:
            if wanted.whole:
                tasks = self._store.scan_queue(wanted.after, WAITING_PAGE)
                places = [(task.demand.created_at, task.task_id) for task in tasks[-1:]]
            else:
                keys = self._store.scan_queue_keys(wanted.after, KEYS_PAGE)
                places = [(created_at, task_id) for created_at, task_id, _ in keys[-1:]]
            cancels = self._store.scan_cancels(CANCELS_PAGE)
            limits = self._store.running_limits()
        except Unavailable as why:
            self._cannot(wanted, why)
            return
        done = len(tasks) < WAITING_PAGE and len(keys) < KEYS_PAGE
        last = places[0] if places else wanted.after
        self.tell("scheduler", WaitingScanned(wanted.epoch, tasks, keys, cancels, last, done, limits))

    def handle_look_up_tasks(self, wanted: LookUpTasks, envelope: Envelope) -> None:
        """How tasks stand that others wait for; the scheduler asks again what got no answer."""
        try:
            found = self._store.standings(wanted.task_ids)
        except Unavailable as why:
            self.log.warning("cannot look tasks up for the scheduler", reason=str(why))
        else:
            self.tell("scheduler", TasksLookedUp(wanted.epoch, wanted.task_ids, found))

    def _cannot(self, wanted: RereadTasks | ScanActive | ScanWaiting, why: Unavailable) -> None:
        self.log.warning("cannot read for the scheduler", wanted=type(wanted).__name__, reason=str(why))
        self.tell("scheduler", ReadFailed(wanted))

    # --- for the front door ----------------------------------------------------------------------

    def handle_check_token(self, wanted: CheckToken, envelope: Envelope) -> None:
        """Look a token up."""
        at = self.now().unix_s
        try:
            who = self._store.identify(wanted.digest, at)
        except Unavailable as why:
            self.tell("judicator", TokenChecked(wanted.digest, None, failed=str(why)))
            return
        self.tell("judicator", TokenChecked(wanted.digest, who))
        if who is not None and who.role in ROLES:
            try:
                self._store.touch_token(wanted.digest, at)
            except Unavailable as why:
                self.log.warning("the use of a token is not noted", token=who.token_id, reason=str(why))

    def handle_check_finished(self, wanted: CheckFinished, envelope: Envelope) -> None:
        """Look which of the tasks that somebody waits for are finished; none that we know, if the
        store cannot answer now."""
        finished: tuple[str, ...] = ()
        try:
            found = {task.id: task for task in self._store.read(wanted.task_ids, view="minimal")}
        except Unavailable as why:
            self.log.warning("cannot look for finished tasks", reason=str(why))
        else:
            finished = tuple(
                task_id
                for task_id in wanted.task_ids
                if task_id not in found
                or wanted.owner not in (None, found[task_id].owner)
                or found[task_id].control.state in TERMINAL
            )
        self.tell("judicator", FinishedChecked(finished, wanted.round))

    # --- for clients -----------------------------------------------------------------------------

    def callers(self) -> Iterable[Envelope]:
        """Those whose small reads are gathered."""
        return self._gets

    def handle_answer_query(self, query: AnswerQuery, envelope: Envelope) -> None:
        """Answer a client's query; reads of a task or two are gathered, for the store answers many at once
        at the price of one."""
        asked = query.envelope.payload
        if not isinstance(asked, GetTasks) or len(asked.task_ids) > FEW_TASKS:
            self._answer_one(query.envelope)
            return
        self._gets.append(query.envelope)
        if len(self._gets) == 1:
            self.tell(self.name, Flush())

    def handle_flush(self, flush: Flush, envelope: Envelope) -> None:
        """Read for all who asked meanwhile."""
        if len(self._gets) > GETS_AT_ONCE:
            self.tell(self.name, Flush())
        by_view: dict[str, list[Envelope]] = {}
        for asked in self._gets[:GETS_AT_ONCE]:
            by_view.setdefault(asked.payload.view, []).append(asked)  # type: ignore[attr-defined]
        for view, together in by_view.items():
            found = self._found_for(together, view)
            for asked in together:
                self._answer_one(asked, found)
                self._gets.remove(asked)

    def _found_for(self, together: Sequence[Envelope], view: str) -> Mapping[str, Task] | None:
        """What these ask for, if it can be read at once; otherwise each has an answer of its own."""
        if len(together) == 1:
            return None
        task_ids = {task_id: None for asked in together for task_id in asked.payload.task_ids}  # type: ignore[attr-defined]
        try:
            return {task.id: task for task in self._store.read(tuple(task_ids), view=view)}
        except KhalaError:
            return None

    def _answer_one(self, asked: Envelope, found: Mapping[str, Task] | None = None) -> None:
        """Answer with what a majority has. A fault in one answer is that query's trouble: a reader keeps
        nothing that it could have spoilt."""
        try:
            answer = self._answer(asked.payload, found)
        except (Refusal, Unavailable) as why:
            answer = reply_of(why)
        except Fault as why:
            self.log.error("a query met a fault", query=type(asked.payload).__name__, exc_info=why)
            answer = NotAvailable(detail=f"this cannot be read: {why}; the judicator's log says more")
        self.reply(asked, answer)
        self.tell("judicator", CallsAnswered(self.name, 1, 0))

    def _answer(self, asked: object, found: Mapping[str, Task] | None) -> object:
        match asked:
            case GetTasks():
                if found is None:
                    tasks = self._store.read(asked.task_ids, view=asked.view)
                else:
                    tasks = [found[task_id] for task_id in dict.fromkeys(asked.task_ids) if task_id in found]
                return TaskViews(tasks=tuple(task for task in tasks if asked.owner in (None, task.owner)))
            case SearchTasks():
                return self._store.search(asked)
            case CountTasks():
                return self._store.counts_at_once(asked.owner)
            case GetJobs():
                found_jobs = self._store.jobs(asked.job_ids[:MOST_JOBS])
                return JobViews(jobs=tuple(job for job in found_jobs if asked.owner in (None, job.owner)))
            case SearchJobs():
                return self._store.search_jobs(asked)
            case GetFileChunk():
                return self._file_chunk(asked)
            case _:
                raise Fault(f"a reader has no answer to {type(asked).__name__}")

    def _file_chunk(self, asked: GetFileChunk) -> FileChunk:
        if asked.offset < 0 or asked.length < 0:
            raise Refusal("offset and length must be 0 or more", field="offset")
        length = min(asked.length, FILE_CHUNK_BYTES)
        size, data = self._store.read_file(asked.sha256, asked.offset, length)
        return FileChunk(sha256=asked.sha256, size=size, offset=asked.offset, data=data)
