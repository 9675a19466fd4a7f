"""Group commit of what clients write: new tasks and cancel requests, acknowledged only when durable.

Its thread blocks in the store while the next batch gathers in its inbox. After the write the leader
gets a hint, which only saves latency: it would find the tasks by itself (P3).
"""

from __future__ import annotations

from collections.abc import Sequence

from khala.actors.actor import NodeActor, Stage
from khala.actors.messages import Flush, InsertTasks
from khala.bus.envelope import Envelope
from khala.core.changes import Inserted
from khala.core.commands import (
    CancelTasks,
    NotAvailable,
    TaskAccepted,
    TaskCancel,
    TaskCancels,
    TasksAccepted,
)
from khala.core.messages import CancelsRequested, QueuedTask, TasksQueued
from khala.core.task import TERMINAL, Task, demand_of
from khala.errors import OutcomeUnknown, Unavailable
from khala.store.interface import Store

BATCH_TASKS = 1_000
SCHEDULER = "leader/scheduler"


class Submissions(NodeActor):
    """Answers the clients' envelopes itself."""

    def __init__(self, stage: Stage, *, store: Store) -> None:
        super().__init__(stage, "submissions")
        self._store = store
        self._waiting: list[InsertTasks] = []
        self._flushing = False

    def handle_insert_tasks(self, insert: InsertTasks, envelope: Envelope) -> None:
        """Gather."""
        self._waiting.append(insert)
        if not self._flushing:
            self._flushing = True
            self.tell(self.name, Flush())

    def handle_flush(self, flush: Flush, envelope: Envelope) -> None:
        """Insert what has gathered as one batch, and answer each of its envelopes."""
        batch: list[InsertTasks] = []
        count = 0
        while self._waiting and (not batch or count + len(self._waiting[0].tasks) <= BATCH_TASKS):
            insert = self._waiting.pop(0)
            count += len(insert.tasks)
            batch.append(insert)
        self._flushing = bool(self._waiting)
        if self._flushing:
            self.tell(self.name, Flush())
        self._insert(batch)

    def _insert(self, batch: Sequence[InsertTasks]) -> None:
        tasks = [task for insert in batch for task in insert.tasks]
        try:
            answers = self._store.insert(tasks) if tasks else ()
        except Unavailable as why:
            for insert in batch:
                self.stage.bus.reply(insert.envelope, not_available(why))
            return
        by_place = iter(answers)
        for insert in batch:
            accepted = _accepted(insert, [next(by_place) for _ in insert.tasks])
            self.stage.bus.reply(insert.envelope, accepted)
        created = [task for task, answer in zip(tasks, answers, strict=True) if answer.answer == "created"]
        if created:
            self.send(SCHEDULER, TasksQueued(tasks=tuple(_queued(task) for task in created)))

    def handle_cancel_tasks(self, cancel: CancelTasks, envelope: Envelope) -> None:
        """Store the requests, hint them to the leader, and say what each one met."""
        try:
            found = {t.id: t for t in self._store.request_cancel(cancel.task_ids, self.now().unix_s)}
        except Unavailable as why:
            self.stage.bus.reply(envelope, not_available(why))
            return
        asked = [task for task in found.values() if task.control.state not in TERMINAL]
        if asked:
            self.send(SCHEDULER, CancelsRequested(tasks=tuple(_queued(task) for task in asked)))
        results = tuple(_cancel_answer(task_id, found.get(task_id)) for task_id in cancel.task_ids)
        self.stage.bus.reply(envelope, TaskCancels(results=results))


def not_available(why: Unavailable) -> NotAvailable:
    """The reply that carries an Unavailable or OutcomeUnknown to a client."""
    return NotAvailable(
        detail=why.detail,
        retry_after_s=why.retry_after_s,
        outcome_unknown=isinstance(why, OutcomeUnknown),
    )


def _queued(task: Task) -> QueuedTask:
    return QueuedTask(task_id=task.id, control=task.control, demand=demand_of(task))


def _accepted(insert: InsertTasks, answers: Sequence[Inserted]) -> TasksAccepted:
    by_place = iter(answers)
    results = []
    for place in range(len(insert.tasks) + len(insert.refused)):
        refused = insert.refused.get(place)
        results.append(refused if isinstance(refused, TaskAccepted) else _answer(next(by_place)))
    return TasksAccepted(results=tuple(results))


def _answer(inserted: Inserted) -> TaskAccepted:
    if inserted.answer == "conflict":
        return TaskAccepted(
            task_id=inserted.task_id,
            created=False,
            error_code="conflict",
            error_detail="this id or idempotency key was used for another request",
        )
    return TaskAccepted(task_id=inserted.task_id, created=inserted.answer == "created")


def _cancel_answer(task_id: str, task: Task | None) -> TaskCancel:
    if task is None:
        return TaskCancel(task_id=task_id, answer="not_found")
    finished = task.control.state in TERMINAL
    return TaskCancel(
        task_id=task_id, answer="finished" if finished else "requested", state=task.control.state
    )
