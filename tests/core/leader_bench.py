"""A leader's scheduler on a bench: the in-memory store behind it, its sends kept, its time in hand."""

from __future__ import annotations

from typing import Any, TypeVar

from khala.core.effects import Effect, LookUp, Reread, Save, Send, Settled
from khala.core.instant import Instant
from khala.core.messages import (
    AssignTask,
    AttemptFinished,
    AttemptReturned,
    AttemptStarted,
    AttemptView,
    ExecutorReport,
    QueuedTask,
    StartRequested,
)
from khala.core.scheduling.scheduler import Scheduler
from khala.core.task import Epoch, ExitReason, Outcome, Task, TaskControl, TaskSpec, demand_of
from khala.store.memory import MemoryStore

LEASE_S = 6.0
UNNAMED = Epoch()
"""What an executor of the version before says of its assignments."""
T = TypeVar("T")
GOOD = Outcome(exit_reason=ExitReason.EXITED, succeeded=True, finished_at=50.0)
CRASHED = Outcome(exit_reason=ExitReason.EXECUTOR_LOST, reason="it died", finished_at=50.0)


class LeaderBench:
    """`hold` keeps saves unanswered in `saving`; `answer` lets them go. Reads are answered at once,
    unless `blind`, which keeps them in `unread`."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.store.prepare()
        self.boot_s = 1_000.0
        self.epoch = self.store.take_epoch("bench")
        self.scheduler = Scheduler(epoch=self.epoch, leader="j1", lease_s=LEASE_S, at=self.now())
        self.sent: list[tuple[str, object]] = []
        self.settled: list[str] = []
        self.looked_up: list[str] = []
        self.saving: list[Save] = []
        self.unread: list[Reread] = []
        self.hold = False
        self.blind = False
        self.members: dict[str, str] = {}
        self._numbers = 0

    # --- events ----------------------------------------------------------------------------------

    def now(self) -> Instant:
        """Both clocks, equal."""
        return Instant(self.boot_s, self.boot_s)

    def do(self, effects: list[Effect]) -> None:
        """Perform, then place what waits."""
        self._perform(effects)
        self._perform(self.scheduler.assign(self.now()))

    def tell(self, message: object) -> None:
        """One message comes in."""
        self.do(self.scheduler.handle(message, self.now()))

    def later(self, seconds: float, ticks: int = 1) -> None:
        """Time goes by, in equal ticks."""
        for _ in range(ticks):
            self.boot_s += seconds / ticks
            self.do(self.scheduler.tick(self.now()))

    def see(self, *, gap: bool = False, **members: str) -> None:
        """Membership: name=incarnation."""
        self.members = members
        self.do(self.scheduler.members_seen(members, self.now(), gap=gap))

    def join(self, name: str, incarnation: str = "i1", **offer: Any) -> None:
        """An executor appears and reports."""
        self.see(**{**self.members, name: incarnation})
        self.report(name, incarnation, **offer)

    def report(self, name: str, incarnation: str = "i1", *views: AttemptView, **said: Any) -> None:
        """An executor reports; it has answered this leader's epoch unless `said` otherwise."""
        self._numbers += 1
        said = {"epoch": self.epoch, "highest_epoch": self.epoch, "slots": 1, "cpus": 8.0} | said
        number = said.pop("number", self._numbers)
        self.tell(
            ExecutorReport(executor=name, incarnation=incarnation, number=number, attempts=views, **said)
        )

    def submit(self, task_id: str, *, hinted: bool = True, **spec: Any) -> None:
        """Store a task, and hint it."""
        task = Task(
            id=task_id,
            spec=TaskSpec(**spec),
            created_at=self.boot_s,
            control=TaskControl(queued_at=self.boot_s),
        )
        self.store.insert([task])
        if hinted:
            self.rescan()

    def rescan(self) -> None:
        """P3."""
        found = [*self.store.scan_queue((0.0, ""), 100), *self.store.scan_cancels(100)]
        self.do(self.scheduler.rebuild(found, self.now()))

    def cancel(self, task_id: str) -> None:
        """Store a cancel request, and hint it."""
        self.store.request_cancel([task_id], self.boot_s)
        self.rescan()

    # --- what executors say ----------------------------------------------------------------------

    def started(
        self, task_id: str, attempt: int = 1, name: str = "e1", phase: str = "", epoch: Epoch = UNNAMED
    ) -> None:
        """It runs."""
        self.tell(
            AttemptStarted(
                executor=name,
                incarnation="i1",
                task_id=task_id,
                attempt=attempt,
                at=self.boot_s,
                phase=phase,
                epoch=epoch,
            )
        )

    def finished(
        self,
        task_id: str,
        attempt: int = 1,
        name: str = "e1",
        outcome: Outcome = GOOD,
        incarnation: str = "i1",
        epoch: Epoch = UNNAMED,
    ) -> None:
        """It ended."""
        self.tell(
            AttemptFinished(
                executor=name,
                incarnation=incarnation,
                task_id=task_id,
                attempt=attempt,
                started_at=40.0,
                outcome=outcome,
                epoch=epoch,
            )
        )

    def returned(self, task_id: str, attempt: int = 1, name: str = "e1", epoch: Epoch = UNNAMED) -> None:
        """It will never start."""
        said = {"executor": name, "incarnation": "i1", "task_id": task_id, "attempt": attempt}
        self.tell(AttemptReturned(**said, reason="back", epoch=epoch))

    def asks(self, task_id: str, attempt: int = 1, name: str = "e1", epoch: Epoch = UNNAMED) -> None:
        """A gated attempt is ready."""
        said = {"executor": name, "incarnation": "i1", "task_id": task_id, "attempt": attempt}
        self.tell(StartRequested(**said, epoch=epoch))

    # --- answers ---------------------------------------------------------------------------------

    def answer(self) -> None:
        """Commit what is held, and go on without holding."""
        self.hold = False
        saves, self.saving = self.saving, []
        answers = self.store.commit(self.epoch, [save.change for save in saves])
        self.do(self.scheduler.changes_answered(answers, self.now()))

    def unknown(self, *, applied: bool) -> None:
        """Nobody can say what became of what is held."""
        self.hold = False
        saves, self.saving = self.saving, []
        if applied:
            self.store.commit(self.epoch, [save.change for save in saves])
        self.do(self.scheduler.changes_unknown([save.change.task_id for save in saves], self.now()))

    def read(self) -> None:
        """Answer what is unread, and go on reading at once."""
        self.blind = False
        for reread in self.unread[:]:
            self.unread.remove(reread)
            found = self.store.read(reread.task_ids)
            self.do(self.scheduler.tasks_read(reread.task_ids, found, self.now()))

    def _perform(self, effects: list[Effect]) -> None:
        saves = []
        for effect in effects:
            match effect:
                case Save():
                    saves.append(effect)
                case Send(destination, message):
                    self.sent.append((destination, message))
                case Settled(task_ids):
                    self.settled += task_ids
                case LookUp(task_ids):
                    self.looked_up += task_ids
                    found = self.store.standings(task_ids)
                    self.do(self.scheduler.looked_up(task_ids, found, self.now()))
                case Reread(task_ids):
                    if self.blind:
                        self.unread.append(effect)
                    else:
                        self.do(self.scheduler.tasks_read(task_ids, self.store.read(task_ids), self.now()))
        if self.hold:
            self.saving += saves
        elif saves:
            answers = self.store.commit(self.epoch, [save.change for save in saves])
            self.do(self.scheduler.changes_answered(answers, self.now()))

    # --- looking ---------------------------------------------------------------------------------

    def task(self, task_id: str) -> TaskControl:
        """How it is stored."""
        return self.store.read([task_id])[0].control

    def queued(self, task_id: str) -> QueuedTask:
        """As a hint names it."""
        task = self.store.read([task_id])[0]
        return QueuedTask(task_id=task_id, control=task.control, demand=demand_of(task))

    def take_sent(self, kind: type[T]) -> list[T]:
        """The messages of that kind sent since the last look at them; all others are forgotten."""
        sent, self.sent = self.sent, []
        return [message for _, message in sent if isinstance(message, kind)]

    def assigned_to(self) -> dict[str, str]:
        """Who was sent which task, since the last look."""
        sent, self.sent = self.sent, []
        return {m.task_id: name.split("/")[0] for name, m in sent if isinstance(m, AssignTask)}
