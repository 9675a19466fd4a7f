"""Reads for the scheduler and for clients, each in the thread of its own actor."""

from __future__ import annotations

from collections.abc import Callable

from khala.actors.actor import NodeActor, Stage
from khala.actors.messages import (
    ActiveScanned,
    AnswerQuery,
    CheckFinished,
    CheckToken,
    FinishedChecked,
    RereadTasks,
    ScanActive,
    ScanWaiting,
    TasksReread,
    TokenChecked,
    WaitingScanned,
)
from khala.bus.envelope import Envelope
from khala.core.commands import (
    CountTasks,
    FileChunk,
    GetFileChunk,
    GetTasks,
    NotAvailable,
    Refused,
    SearchTasks,
    TaskCounts,
    TaskViews,
)
from khala.core.task import TERMINAL
from khala.errors import Refusal, Unavailable
from khala.store.interface import Store

ACTIVE_PAGE = 5_000
WAITING_PAGE = 5_000
CANCELS_PAGE = 1_000
FILE_CHUNK_BYTES = 1 << 20


class StoreReader(NodeActor):
    """A store that cannot answer now leaves the scheduler's questions unanswered: it asks again."""

    def __init__(self, stage: Stage, *, name: str, store: Store) -> None:
        super().__init__(stage, name)
        self._store = store

    def handle_reread_tasks(self, wanted: RereadTasks, envelope: Envelope) -> None:
        """Whole tasks, for the scheduler to adopt."""
        try:
            found = self._store.read(wanted.task_ids)
        except Unavailable as why:
            self.log.warning("cannot read tasks", reason=str(why))
            return
        self.tell("scheduler", TasksReread(wanted.epoch, wanted.task_ids, found))

    def handle_scan_active(self, wanted: ScanActive, envelope: Envelope) -> None:
        """A page of what a new leader rebuilds from."""
        try:
            tasks = self._store.scan_active(wanted.after, ACTIVE_PAGE)
        except Unavailable as why:
            self.log.warning("cannot scan active tasks", reason=str(why))
            return
        self.tell("scheduler", ActiveScanned(wanted.epoch, tasks, done=len(tasks) < ACTIVE_PAGE))

    def handle_scan_waiting(self, wanted: ScanWaiting, envelope: Envelope) -> None:
        """A page of the leader's re-scan (P3)."""
        try:
            tasks = self._store.scan_queue(wanted.after, WAITING_PAGE)
            cancels = self._store.scan_cancels(CANCELS_PAGE)
        except Unavailable as why:
            self.log.warning("cannot scan waiting tasks", reason=str(why))
            return
        done = len(tasks) < WAITING_PAGE
        self.tell("scheduler", WaitingScanned(wanted.epoch, tasks, cancels, done=done))

    def handle_check_token(self, wanted: CheckToken, envelope: Envelope) -> None:
        """Look a token up for the front door."""
        try:
            known = self._store.role_of(wanted.digest)
        except Unavailable as why:
            self.tell("judicator", TokenChecked(wanted.digest, "", failed=str(why)))
            return
        self.tell("judicator", TokenChecked(wanted.digest, known[1] if known else ""))

    def handle_check_finished(self, wanted: CheckFinished, envelope: Envelope) -> None:
        """Look whether a new waiter's tasks are finished already."""
        try:
            found = {task.id: task for task in self._store.read(wanted.task_ids, view="minimal")}
        except Unavailable:
            return
        finished = tuple(
            task_id
            for task_id in wanted.task_ids
            if task_id not in found or found[task_id].control.state in TERMINAL
        )
        self.tell("judicator", FinishedChecked(wanted.waiter, finished))

    def handle_answer_query(self, query: AnswerQuery, envelope: Envelope) -> None:
        """Answer a client's query with what a majority has."""
        answers: dict[type, Callable[..., object]] = {
            GetTasks: self._get_tasks,
            SearchTasks: self._store.search,
            CountTasks: self._count_tasks,
            GetFileChunk: self._get_file_chunk,
        }
        asked = query.envelope.payload
        try:
            answer = answers[type(asked)](asked)
        except Refusal as why:
            answer = Refused(code=why.code, detail=why.detail, field=why.field)
        except Unavailable as why:
            answer = NotAvailable(detail=why.detail, retry_after_s=why.retry_after_s)
        self.stage.bus.reply(query.envelope, answer)

    def _get_tasks(self, asked: GetTasks) -> TaskViews:
        return TaskViews(tasks=tuple(self._store.read(asked.task_ids, view=asked.view)))

    def _count_tasks(self, asked: CountTasks) -> TaskCounts:
        return TaskCounts(counts=dict(self._store.counts()))

    def _get_file_chunk(self, asked: GetFileChunk) -> FileChunk:
        length = min(asked.length, FILE_CHUNK_BYTES)
        size, data = self._store.read_file(asked.sha256, asked.offset, length)
        return FileChunk(sha256=asked.sha256, size=size, offset=asked.offset, data=data)
