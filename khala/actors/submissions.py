"""Group commit of what clients write: new tasks and cancel requests, acknowledged only when durable.

Its thread blocks in the store while the next batch gathers in its inbox. After the write the leader
gets a hint, which only saves latency: it would find the tasks by itself (P3). A fault ends the batch
in hand as "outcome unknown" for its callers, never as done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from khala.actors.actor import NodeActor, Stage
from khala.actors.answering import not_available
from khala.actors.leader_messages import LeadingWith
from khala.actors.messages import Began, CallsAnswered, Flush, InsertTasks
from khala.actors.new_tasks import with_known_dependencies
from khala.actors.quotas import Quotas
from khala.bus.envelope import Envelope
from khala.core.changes import Inserted
from khala.core.commands import (
    CancelTasks,
    TaskAccepted,
    TaskCancel,
    TaskCancels,
    TasksAccepted,
    TaskViews,
)
from khala.core.files import file_ids_of
from khala.core.messages import CancelsRequested, QueuedTask, TasksQueued
from khala.core.operations import AmendTask, PurgeTask
from khala.core.task import TERMINAL, Epoch, Task, demand_of
from khala.errors import Unavailable
from khala.store.interface import Store

BATCH_TASKS = 1_000
BATCH_BYTES = 16 << 20
TOLD_WHOLE, TOLD_WHOLE_BYTES = 16, 64 << 10
"""Of how many tasks another judicator's leader is told everything."""
TOLD_HERE_BYTES = 4 << 10
"""And this node's own leader of tasks of up to this size on average: it costs nothing but memory there."""
SCHEDULER = "leader/scheduler"
Cancel = tuple[CancelTasks, Envelope]


class Submissions(NodeActor):
    """Answers the clients' envelopes itself."""

    def __init__(self, stage: Stage, *, store: Store) -> None:
        super().__init__(stage, "submissions")
        self._store = store
        self._quotas = Quotas(store)
        self._inserts: list[InsertTasks] = []
        self._cancels: list[Cancel] = []
        self._open: list[Envelope] = []
        self._created: tuple[tuple[str, str], ...] = ()
        self._flushing = False
        self._leads = False

    def begin(self) -> None:
        """What was sent to an earlier one is no longer on its way."""
        self.tell("judicator", Began(self.name))

    def callers(self) -> Iterable[Envelope]:
        """Those whose batch is being written, and those of the next ones."""
        return [*self._open, *(i.envelope for i in self._inserts), *(e for _, e in self._cancels)]

    def handle_leading_with(self, leading: LeadingWith, envelope: Envelope) -> None:
        """Does this node lead?"""
        self._leads = leading.epoch != Epoch()

    def handle_insert_tasks(self, insert: InsertTasks, envelope: Envelope) -> None:
        """Gather."""
        self._inserts.append(insert)
        self._flush_soon()

    def handle_cancel_tasks(self, cancel: CancelTasks, envelope: Envelope) -> None:
        """Gather."""
        self._cancels.append((cancel, envelope))
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.tell(self.name, Flush())

    def handle_flush(self, flush: Flush, envelope: Envelope) -> None:
        """Write what has gathered as one batch of each kind, then look at the inbox again."""
        inserts, self._inserts = _batch_of(self._inserts)
        cancels, self._cancels = self._cancels[:BATCH_TASKS], self._cancels[BATCH_TASKS:]
        self._flushing = False
        if self._inserts or self._cancels:
            self._flush_soon()
        self._created = ()
        self._open = [*(insert.envelope for insert in inserts), *(caller for _, caller in cancels)]
        if inserts:
            self._insert(inserts)
        if cancels:
            self._cancel(cancels)
        items = sum(len(insert.tasks) for insert in inserts) + sum(len(c.task_ids) for c, _ in cancels)
        size_bytes = sum(insert.size_bytes for insert in inserts)
        self.tell("judicator", CallsAnswered(self.name, items, size_bytes, self._created))

    def _answer(self, envelope: Envelope, answer: object) -> None:
        """Answer a caller of the batch that is being written."""
        self.reply(envelope, answer)
        self._open.remove(envelope)

    def _insert(self, batch: Sequence[InsertTasks]) -> None:
        try:
            batch = [with_known_dependencies(insert, self._store, self.now().unix_s) for insert in batch]
            batch = [self._quotas.admit(insert, self.now().boot_s) for insert in batch]
            tasks = [task for insert in batch for task in insert.tasks]
            self._store.touch_files(sorted({sha256 for task in tasks for sha256 in file_ids_of(task.spec)}))
            answers = self._store.insert(tasks) if tasks else ()
        except Unavailable as why:
            for insert in batch:
                self._answer(insert.envelope, not_available(why))
            return
        created = [task for task, answer in zip(tasks, answers, strict=True) if answer.answer == "created"]
        size_bytes = sum(insert.size_bytes for insert in batch)
        small = len(created) <= TOLD_WHOLE and size_bytes <= TOLD_WHOLE_BYTES
        if created:
            whole = small or (self._leads and size_bytes <= TOLD_HERE_BYTES * len(created))
            self.send(SCHEDULER, TasksQueued(tasks=tuple(queued_of(task, whole=whole) for task in created)))
        self._created = tuple((task.id, task.owner) for task in created) if small else ()
        by_place = iter(answers)
        for insert in batch:
            self._answer(insert.envelope, _accepted(insert, [next(by_place) for _ in insert.tasks]))

    def _cancel(self, batch: Sequence[Cancel]) -> None:
        """Store the requests, hint them to the leader, and say what each one met."""
        found: dict[tuple[str | None, str], Task] = {}
        try:
            for owner in dict.fromkeys(cancel.owner for cancel, _ in batch):
                found |= {(owner, task.id): task for task in self._request(batch, owner)}
        except Unavailable as why:
            for _, envelope in batch:
                self._answer(envelope, not_available(why))
            return
        asked = [task for task in found.values() if task.control.state not in TERMINAL]
        if asked:
            self.send(SCHEDULER, CancelsRequested(tasks=tuple(queued_of(task) for task in asked)))
        for cancel, envelope in batch:
            results = tuple(
                _cancel_answer(task_id, found.get((cancel.owner, task_id))) for task_id in cancel.task_ids
            )
            self._answer(envelope, TaskCancels(results=results))

    # --- by hand ---------------------------------------------------------------------------------

    def handle_amend_task(self, amend: AmendTask, envelope: Envelope) -> None:
        """Change one task, and hint it to the leader, whose queue goes by priority."""
        told = [] if amend.priority is None else [f"priority {amend.priority}"]
        told += [] if amend.labels is None else ["labels"]

        def write() -> Task | None:
            return self._store.amend(
                amend.task_id,
                self.now().unix_s,
                ", ".join(told),
                labels=amend.labels,
                priority=amend.priority,
                owner=amend.owner,
            )

        task = self._one(envelope, write)
        if task is not None and task.control.state not in TERMINAL:
            self.send(SCHEDULER, TasksQueued(tasks=(queued_of(task),)))

    def handle_purge_task(self, purge: PurgeTask, envelope: Envelope) -> None:
        """Put a tombstone in its place (P7)."""
        self._one(envelope, lambda: self._store.purge(purge.task_id, self.now().unix_s, purge.owner))

    def _one(self, envelope: Envelope, write: Callable[[], Task | None]) -> Task | None:
        """Write one task, and answer with what came of it."""
        task = None
        try:
            task = write()
        except Unavailable as why:
            self.reply(envelope, not_available(why))
        else:
            self.reply(envelope, TaskViews(tasks=() if task is None else (task,)))
        self.tell("judicator", CallsAnswered(self.name, 1, 0))
        return task

    def _request(self, batch: Sequence[Cancel], owner: str | None) -> Iterator[Task]:
        """Store those requests of a batch that are for tasks of `owner`."""
        own = (cancel for cancel, _ in batch if cancel.owner == owner)
        task_ids = tuple(dict.fromkeys(task_id for cancel in own for task_id in cancel.task_ids))
        for start in range(0, len(task_ids), BATCH_TASKS):
            some = task_ids[start : start + BATCH_TASKS]
            yield from self._store.request_cancel(some, self.now().unix_s, owner)


def _batch_of(waiting: list[InsertTasks]) -> tuple[list[InsertTasks], list[InsertTasks]]:
    """The inserts that fit into one write, at least one, and the rest."""
    taken, count, size_bytes = 0, 0, 0
    for insert in waiting:
        count += len(insert.tasks)
        size_bytes += insert.size_bytes
        if taken and (count > BATCH_TASKS or size_bytes > BATCH_BYTES):
            break
        taken += 1
    return waiting[:taken], waiting[taken:]


def queued_of(task: Task, *, whole: bool = False) -> QueuedTask:
    """What the leader keeps of a task; the `whole` specification as well if wanted."""
    return QueuedTask(
        task_id=task.id, control=task.control, demand=demand_of(task), spec=task.spec if whole else None
    )


def _accepted(insert: InsertTasks, answers: Sequence[Inserted]) -> TasksAccepted:
    by_place = iter(answers)
    results = []
    for place in range(len(insert.tasks) + len(insert.refused)):
        refused = insert.refused.get(place)
        results.append(refused if refused is not None else _answer_of(next(by_place)))
    return TasksAccepted(results=tuple(results))


def _answer_of(inserted: Inserted) -> TaskAccepted:
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
