"""The leader's scheduler as a state machine: one event in, a list of effects out.

It lives as long as one epoch: a leader that is stale, paused past its lease or restarted throws it
away and builds a new one from the store (`rebuild`) and from the executors' reports. Whoever drives
it performs the effects in order and feeds the store's answers back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from khala.core.changes import Changed
from khala.core.commands import ExecutorView, QueuePlace
from khala.core.effects import Effect, Reread
from khala.core.instant import Instant
from khala.core.messages import (
    AttemptFinished,
    AttemptReturned,
    AttemptStarted,
    AttemptView,
    CancelsRequested,
    ExecutorReport,
    QueuedTask,
    StartRequested,
    TasksQueued,
)
from khala.core.operations import Sample
from khala.core.scheduling import assigning, pace, reconciling, settling
from khala.core.scheduling.ledger import Entry, ExecutorEntry, Ledger
from khala.core.task import Epoch, State, Task


class Scheduler:
    """All of a leader's decisions during one epoch."""

    def __init__(self, *, epoch: Epoch, leader: str, lease_s: float, at: Instant) -> None:
        self.ledger = Ledger(epoch=epoch, leader=leader, lease_s=lease_s, at=at)
        self.ledger.grace_until = at.boot_s + lease_s
        self.is_cut_short = False

    def rebuild(self, tasks: Iterable[QueuedTask], at: Instant) -> list[Effect]:
        """Take over tasks found in the store: a new leader's start, and each re-scan (P3)."""
        return self._handle_all([TasksQueued(tasks=tuple(tasks))], at)

    def missed(self, keys: Iterable[tuple[float, str, int]]) -> list[Effect]:
        """Ask for those pending tasks, found in the store by (created_at, id, rev), that are news (P3)."""
        entries = self.ledger.entries
        news = []
        for _, task_id, rev in keys:
            entry = entries.get(task_id)
            if entry is None or (entry.saving is None and entry.control.rev < rev):
                news.append(task_id)
        return [Reread(tuple(news))] if news else []

    def handle(self, message: object, at: Instant) -> list[Effect]:
        """Take one message from an executor or a judicator."""
        return self._handle_all([message], at)

    def members_seen(self, live: Mapping[str, str], at: Instant, *, gap: bool = False) -> list[Effect]:
        """Take membership's view: live executors' names and incarnations. `gap` says that the
        coordination service could not be read just before, which starts the grace anew (P10)."""
        self.ledger.at = at
        if gap:
            self.ledger.grace_until = at.boot_s + self.ledger.lease_s
        reconciling.members_seen(self.ledger, live)
        return self._take_effects()

    def changes_answered(self, answers: Sequence[Changed], at: Instant) -> list[Effect]:
        """Take the store's answers to saved changes."""
        self.ledger.at = at
        for answer in answers:
            for event in settling.changed(self.ledger, answer):
                self._dispatch(event)
            self._after(answer.task_id)
        return self._take_effects()

    def changes_unknown(self, task_ids: Sequence[str], at: Instant) -> list[Effect]:
        """The store could not say whether these changes were saved: read before deciding (P2)."""
        self.ledger.at = at
        self.ledger.unsure.update(dict.fromkeys(task_ids))
        self.ledger.effects.append(Reread(tuple(task_ids)))
        return self._take_effects()

    def tasks_read(self, asked: Sequence[str], found: Iterable[Task], at: Instant) -> list[Effect]:
        """Take the answer to a Reread; what was asked and not found does not exist."""
        self.ledger.at = at
        by_id = {task.id: task for task in found}
        for task_id in asked:
            for event in settling.was_read(self.ledger, task_id, by_id.get(task_id)):
                self._dispatch(event)
            self._after(task_id)
        return self._take_effects()

    def looked_up(self, asked: Sequence[str], found: Mapping[str, State], at: Instant) -> list[Effect]:
        """Take the answer to a LookUp; what was asked and not found does not exist."""
        ledger = self.ledger
        ledger.at = at
        ledger.holding.looked_up(tuple(asked), found, ledger.entries, at.unix_s)
        return self._take_effects()

    def tick(self, at: Instant) -> list[Effect]:
        """Do what time asks for; call a few times a second."""
        ledger = self.ledger
        ledger.at = at
        for executor in ledger.executors.values():
            reconciling.announce(ledger, executor)
            pace.look(executor, at.boot_s)
        reconciling.lose_the_missing(ledger)
        assigning.resend_unconfirmed(ledger)
        for entry in list(ledger.active()):
            assigning.stop_if_cancelled(ledger, entry)
        assigning.recall_for_idle(ledger)
        assigning.recall_for_newcomers(ledger)
        assigning.recall_surplus(ledger)
        ledger.shares.forget(at.boot_s)
        waiting = [*ledger.unsure, *ledger.questions]
        if waiting:
            ledger.effects.append(Reread(tuple(dict.fromkeys(waiting))))
        return self._take_effects()

    def assign(self, at: Instant) -> list[Effect]:
        """Place what waits; call when a batch of events has been handled, and again if it `is_cut_short`."""
        self.ledger.at = at
        self.is_cut_short = assigning.assign_waiting(self.ledger)
        return self._take_effects()

    def passed(self, took_s: float) -> None:
        """Placing what waits and acting on it took so long, for the metrics."""
        self.ledger.tally.passed(took_s)

    def limits_seen(self, limits: Mapping[str, int]) -> None:
        """How many tasks each owner may have assigned or running (a quota); who is left out, any number."""
        self.ledger.shares.limits = limits

    def executors(self) -> list[ExecutorView]:
        """The executors as this leader sees them."""
        return [_view(executor) for executor in self.ledger.executors.values() if executor.live]

    def place(self, task_id: str) -> QueuePlace:
        """Where a task stands in the queue."""
        return self.ledger.queue.place(task_id)

    def samples(self) -> list[Sample]:
        """What this leader counts, as metrics."""
        ledger = self.ledger
        depths = sorted(ledger.queue.depths().items())
        return [
            Sample(name="khala_leader_epoch", labels={}, value=float(ledger.epoch.number)),
            *(
                Sample(name="khala_queue_depth", labels={"priority": str(priority)}, value=float(tasks))
                for priority, tasks in depths
            ),
            *ledger.tally.samples(),
        ]

    def _handle_all(self, messages: Iterable[object], at: Instant) -> list[Effect]:
        self.ledger.at = at
        for message in messages:
            self._dispatch(message)
        return self._take_effects()

    def _dispatch(self, message: object) -> None:
        ledger = self.ledger
        match message:
            case AttemptFinished() | AttemptStarted() | AttemptReturned() | StartRequested() if (
                settling.told_of_another_generation(ledger, message)
            ):
                return
            case AttemptFinished():
                settling.attempt_finished(ledger, message)
            case AttemptStarted():
                settling.attempt_started(ledger, message)
            case AttemptReturned():
                settling.attempt_returned(ledger, message)
            case StartRequested():
                settling.start_requested(ledger, message)
            case ExecutorReport():
                reconciling.reported(ledger, message)
            case TasksQueued() | CancelsRequested():
                for task in message.tasks:
                    self._adopt(task)
            case (str() as executor, AttemptView() as view):
                reconciling.check_view(ledger, executor, view)
            case _:
                raise TypeError(f"the scheduler does not understand {type(message).__name__}")

    def _adopt(self, task: QueuedTask) -> None:
        entry = self.ledger.entries.get(task.task_id)
        if entry is not None and entry.saving is not None:
            if task.control.rev > entry.saving.control.rev:
                entry.wait_with(TasksQueued(tasks=(task,)))
            return
        self.ledger.adopt(task.task_id, task.control, task.demand)
        if task.spec is not None:
            self.ledger.note_spec(task.task_id, task.spec)
        self._after(task.task_id)

    def _after(self, task_id: str) -> None:
        """Whatever happened to a task: a requested cancel is acted on at once."""
        entry: Entry | None = self.ledger.entries.get(task_id)
        if entry is not None:
            assigning.stop_if_cancelled(self.ledger, entry)

    def _take_effects(self) -> list[Effect]:
        effects, self.ledger.effects = self.ledger.effects, []
        return effects


def _view(executor: ExecutorEntry) -> ExecutorView:
    report = executor.report
    running = tuple(e.task_id for e in executor.entries.values() if e.control.state == State.RUNNING)
    return ExecutorView(
        executor=executor.name,
        incarnation=executor.incarnation,
        hostname=report.hostname if report else "",
        reported_at=executor.reported_unix_s,
        slots=executor.room.slots,
        cpus=executor.room.cpus,
        memory_bytes=executor.room.memory_bytes,
        labels=executor.room.labels,
        load=report.load if report else 0.0,
        draining=bool(report and report.draining),
        assigned=len(executor.entries),
        running=running,
        isolation=report.isolation if report else (),
        layers=report.layers if report else {},
    )
