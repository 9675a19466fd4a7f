"""An executor's machine on a bench: what it journals is kept, what it says and starts can be looked at."""

from __future__ import annotations

from typing import Any, TypeVar

from khala.core.effects import DeliverOutput, DropSpool, Effect, Journal, Send, StartAttempt, StopAttempt
from khala.core.execution.holdings import Capacity
from khala.core.execution.machine import ExecutorMachine
from khala.core.execution.speech import Identity
from khala.core.instant import Instant
from khala.core.journal import Fact, JournalRecord
from khala.core.messages import (
    AbortAttempt,
    AssignTask,
    AttemptReturned,
    ExecutorReport,
    LeaderAnnounced,
    OutcomeSettled,
    RecallAttempt,
    StartCleared,
)
from khala.core.task import Epoch, ExitReason, Outcome, Resources, TaskSpec

T = TypeVar("T")
E1, E2, E3 = Epoch(1, 1), Epoch(1, 2), Epoch(1, 3)
GOOD = Outcome(exit_reason=ExitReason.EXITED, succeeded=True, finished_at=50.0)
Order = LeaderAnnounced | AssignTask | StartCleared | RecallAttempt | AbortAttempt | OutcomeSettled


class ExecutorBench:
    """`effects` are those since the last `take`; `journal` is what the disk has."""

    def __init__(
        self,
        *,
        slots: int = 1,
        cpus: float = 8.0,
        memory_bytes: int = 0,
        journal: list[JournalRecord] | None = None,
        incarnation: str = "i1",
    ) -> None:
        self.boot_s = 1_000.0
        self.incarnation = incarnation
        self.journal = journal if journal is not None else []
        self.effects: list[Effect] = []
        self._sequence = 0
        self.machine = ExecutorMachine(
            identity=Identity(executor="e1", incarnation=incarnation),
            capacity=Capacity(slots=slots, cpus=cpus, memory_bytes=memory_bytes),
        )
        self.do(self.machine.begin(tuple(self.journal), self.now()))

    def now(self) -> Instant:
        """Both clocks, equal."""
        return Instant(self.boot_s, self.boot_s)

    def do(self, effects: list[Effect]) -> list[Effect]:
        """Keep what is asked for."""
        self.journal += [effect.record for effect in effects if isinstance(effect, Journal)]
        self.effects += effects
        return effects

    def take(self, kind: type[T]) -> list[T]:
        """Effects or sent messages of that kind since the last look; all others are forgotten."""
        effects, self.effects = self.effects, []
        flat = [effect.message if isinstance(effect, Send) else effect for effect in effects]
        return [each for each in flat if isinstance(each, kind)]

    def tell(self, order: Order) -> list[Effect]:
        """One order of a leader."""
        return self.do(self.machine.handle(order, self.now()))

    def assign(self, task_id: str, attempt: int = 1, *, epoch: Epoch = E1, **order: Any) -> list[Effect]:
        """An assignment, with the next number unless one is given."""
        self._sequence += 1
        needs = {key: order.pop(key) for key in ("cpus", "memory_bytes") if key in order}
        spec = TaskSpec(resources=Resources(**needs), **order.pop("spec", {}))
        values = {"incarnation": self.incarnation, "sequence": self._sequence, "gated": False} | order
        return self.tell(AssignTask(epoch=epoch, task_id=task_id, attempt=attempt, spec=spec, **values))

    def announce(self, epoch: Epoch) -> list[Effect]:
        """A leader asks for a report."""
        return self.tell(LeaderAnnounced(epoch=epoch, leader="j1"))

    def clear(self, task_id: str, attempt: int = 1, epoch: Epoch = E1) -> list[Effect]:
        """A gated attempt may start."""
        return self.tell(
            StartCleared(epoch=epoch, incarnation=self.incarnation, task_id=task_id, attempt=attempt)
        )

    def recall(self, task_id: str, attempt: int = 1, epoch: Epoch = E1) -> list[Effect]:
        """Hand it back."""
        return self.tell(
            RecallAttempt(epoch=epoch, incarnation=self.incarnation, task_id=task_id, attempt=attempt)
        )

    def abort(self, task_id: str, attempt: int = 1, epoch: Epoch = E1, **how: Any) -> list[Effect]:
        """End it."""
        values = {"incarnation": self.incarnation} | how
        return self.tell(AbortAttempt(epoch=epoch, task_id=task_id, attempt=attempt, **values))

    def settle(self, task_id: str, attempt: int = 1, **how: Any) -> list[Effect]:
        """Its outcome is recorded."""
        return self.tell(OutcomeSettled(task_id=task_id, attempt=attempt, **how))

    def end(self, task_id: str, attempt: int = 1, outcome: Outcome = GOOD, **how: Any) -> list[Effect]:
        """Its processes are gone."""
        return self.do(self.machine.attempt_ended(task_id, attempt, outcome, self.now(), **how))

    def deliver(self) -> list[tuple[str, int]]:
        """All output that is to be delivered is; whose it was."""
        wanted = [effect for effect in self.effects if isinstance(effect, DeliverOutput)]
        for each in wanted:
            self.do(self.machine.output_delivered(each.task_id, each.attempt, each.outcome, self.now()))
        return [(each.task_id, each.attempt) for each in wanted]

    def later(self, seconds: float) -> list[Effect]:
        """Time goes by, and a tick."""
        self.boot_s += seconds
        return self.do(self.machine.tick(self.now()))

    # --- looking ---------------------------------------------------------------------------------

    def started(self) -> list[tuple[str, int]]:
        """What was started since the last look."""
        return [(each.task_id, each.attempt) for each in self.take(StartAttempt)]

    def stopped(self) -> list[tuple[str, int]]:
        """What was stopped since the last look."""
        return [(each.task_id, each.attempt) for each in self.take(StopAttempt)]

    def returned(self) -> list[tuple[str, int]]:
        """What was handed back since the last look."""
        return [(each.task_id, each.attempt) for each in self.take(AttemptReturned)]

    def dropped(self) -> list[tuple[str, int]]:
        """Whose spool was dropped since the last look."""
        return [(each.task_id, each.attempt) for each in self.take(DropSpool)]

    def report(self) -> ExecutorReport:
        """A report made now."""
        self.effects.clear()
        self.later(1.0)
        return self.take(ExecutorReport)[-1]

    def facts(self) -> list[tuple[Fact, str, int]]:
        """The journal, in short."""
        return [(record.fact, record.task_id, record.attempt) for record in self.journal]


def ready() -> ExecutorBench:
    """An executor of one slot that has answered epoch 1."""
    bench = ExecutorBench()
    bench.announce(E1)
    bench.effects.clear()
    return bench
