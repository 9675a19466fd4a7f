"""The cluster with one rule taken away, or one bug planted: each must be found by the seeds.

Rules are taken away here, by other parts of a world, never by a flag in production code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from simulation.client import Accepted, Cancel, CancelAccepted, Submit
from simulation.executor import Executor
from simulation.judicator import Judicator
from simulation.leading import Leading
from simulation.run import run_seed
from simulation.storage import Storage
from simulation.world import Parts

from khala.core.changes import Change, Changed
from khala.core.effects import Effect, Journal
from khala.core.execution.holdings import Holding, Holdings
from khala.core.execution.machine import ExecutorMachine
from khala.core.messages import AssignTask, AttemptFinished, OutcomeSettled
from khala.core.output import OutputChunk
from khala.core.scheduling import reconciling, settling
from khala.core.scheduling.ledger import Ledger
from khala.core.task import Epoch
from khala.errors import KhalaError, Refusal


class UnguardedStorage(Storage):
    """Without P1: a batch applies whoever sends it."""

    def perform(self, method: str, args: tuple[Any, ...]) -> Any:
        """Put the newest epoch in the place of the batch's own."""
        if method == "commit":
            args = (self.world.epoch, args[1])
        return super().perform(method, args)


class HintedOnly(Leading):
    """Without P3: only hints tell the leader of new tasks."""

    def rescan(self) -> None:
        """Nobody looks."""


class ForcingStorage(Storage):
    """Without P5: an outcome is written whatever the task's rev."""

    def perform(self, method: str, args: tuple[Any, ...]) -> Any:
        """Make each outcome match."""
        if method == "commit":
            args = (args[0], [self._forced(change) for change in args[1]])
        return super().perform(method, args)

    def _forced(self, change: Change) -> Change:
        stored = self.read(change.task_id)
        if change.event.kind != "ended" or stored is None or stored.control.rev == change.expected_rev:
            return change
        rev = stored.control.rev
        event = replace(change.event, rev=rev + 1, from_state=stored.control.state)
        return replace(change, expected_rev=rev, control=replace(change.control, rev=rev + 1), event=event)


class TakesAnyOutput(Storage):
    """Without P4 for output: what a lost generation's attempts wrote is stored under others' numbers."""

    def put(self, chunk: OutputChunk, epoch: Epoch) -> int | Refusal:
        """Whoever gave the attempt."""
        return self.memory.put_output([chunk])[0]


class ObedientMachine(ExecutorMachine):
    """Without P8: any assignment that comes is taken, by any incarnation, however old."""

    def obeys_sequence(self, message: AssignTask) -> bool:
        """Numbers do not matter."""
        return True

    def handle(self, message: object, at: Any) -> list[Effect]:
        """Neither does the incarnation, nor what was handed back."""
        if isinstance(message, AssignTask):
            self._tombstones.pop((message.task_id, message.attempt), None)
            message = replace(message, incarnation=self._me.incarnation)
        return super().handle(message, at)


class ForgetfulMachine(ExecutorMachine):
    """Without P9 on its side: an older leader is obeyed like a newer one."""

    def _obeys(self, epoch: Epoch, at: Any) -> bool:
        super()._obeys(epoch, at)
        return True

    def obeys_sequence(self, message: AssignTask) -> bool:
        """Numbers count within an epoch only."""
        return message.epoch != self._highest[0] or super().obeys_sequence(message)


class JournalsLater(Executor):
    """A planted bug: the journal is written after what it should have made safe."""

    def _flush(self) -> None:
        effects, self._effects = self._effects, []
        self._act([effect for effect in effects if not isinstance(effect, Journal)])
        records = [effect.record for effect in effects if isinstance(effect, Journal)]
        self.post(0.0005, self.write, records)


class AnswersEarly(Judicator):
    """A planted bug: the client is told before the store has answered."""

    def receive(self, sender: str, message: object) -> None:
        """Tell, then do."""
        if isinstance(message, Submit):
            self.send(sender, Accepted(message.task.id, self._generation()))
        if isinstance(message, Cancel):
            self.send(sender, CancelAccepted(message.task_id, self._generation()))
        super().receive(sender, message)


class StartsAnyway(ExecutorMachine):
    """A planted bug: a gated attempt does not wait to be cleared."""

    def handle(self, message: object, at: Any) -> list[Effect]:
        """Forget the gate."""
        if isinstance(message, AssignTask):
            message = replace(message, gated=False)
        return super().handle(message, at)


class HastyMachine(ExecutorMachine):
    """Without P6: an end is told at once, and its output follows when it can."""

    def _deliver(self, holding: Holding) -> bool:
        super()._deliver(holding)
        holding.delivering = False
        return False


class SpareJournal(Executor):
    """A planted bug: which epochs were obeyed is not written down."""

    def write(self, records: list[Any]) -> None:
        """Leave them out."""
        super().write([record for record in records if record.fact != "epoch"])


class TrustingLeading(Leading):
    """A planted bug: what could not be known to be saved is taken as saved."""

    def _answered(self, batch: list[Change], answer: Any) -> None:
        if isinstance(answer, KhalaError) and self.world.epoch == self.epoch:
            answer = [self._guess(change) for change in batch]
        super()._answered(batch, answer)

    def _guess(self, change: Change) -> Any:
        return Changed(
            task_id=change.task_id, applied=True, spec=self.world.storage.read(change.task_id).spec
        )


@contextmanager
def absent_is_lost() -> Iterator[None]:
    """Without P9 on the leader's side: whatever a report does not show is taken as missing."""
    with mock.patch.object(reconciling, "can_be_missing", lambda ledger, entry, report: True):
        yield


@contextmanager
def any_generation_counts() -> Iterator[None]:
    """Without P4 for ends: what is said of a lost generation's attempt is taken for another of its number."""
    with mock.patch.object(settling, "told_of_another_generation", lambda ledger, said: False):
        yield


@contextmanager
def capacity_not_counted() -> Iterator[None]:
    """A planted bug: an executor looks at its slots only."""
    with mock.patch.object(Holdings, "_fits", lambda holdings, spec: True):
        yield


@contextmanager
def acknowledges_early() -> Iterator[None]:
    """A planted bug: an outcome is acknowledged when it is heard, not when it is saved."""
    real = settling.attempt_finished

    def early(ledger: Ledger, said: AttemptFinished) -> None:
        real(ledger, said)
        ledger.send(said.executor, OutcomeSettled(task_id=said.task_id, attempt=said.attempt))

    with mock.patch.object(settling, "attempt_finished", early):
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing that is broken, and the invariants by which it may be found. `shown_by` is a seed that showed
    it once, and is tried first: what then changed makes another one show it."""

    breaks: tuple[str, ...]
    parts: Parts | None = None
    patch: Callable[[], AbstractContextManager[None]] = nullcontext
    shown_by: int = 0


CASES: dict[str, Case] = {
    "P1": Case(parts=Parts(storage=UnguardedStorage), breaks=("I11",), shown_by=20),
    "P3": Case(parts=Parts(leading=HintedOnly), breaks=("I20",)),
    "P4 output": Case(parts=Parts(storage=TakesAnyOutput), breaks=("I17",), shown_by=318),
    "P4 ends": Case(patch=any_generation_counts, breaks=("I7", "I9", "I17"), shown_by=2),
    "P5": Case(parts=Parts(storage=ForcingStorage), breaks=("I4", "I5", "I6", "I14"), shown_by=48),
    "P6": Case(parts=Parts(machine=HastyMachine), breaks=("I17",)),
    "P8": Case(parts=Parts(machine=ObedientMachine), breaks=("I9", "I10"), shown_by=7),
    "P9": Case(
        parts=Parts(machine=ForgetfulMachine), patch=absent_is_lost, breaks=("I9", "I10", "I12"), shown_by=14
    ),
    "P9 leader": Case(patch=absent_is_lost, breaks=("I9", "I10"), shown_by=14),
    "P9 executor": Case(parts=Parts(machine=ForgetfulMachine), breaks=("I9", "I10", "I12"), shown_by=118),
    "journal later": Case(parts=Parts(executor=JournalsLater), breaks=("I7",)),
    "journal without epochs": Case(parts=Parts(executor=SpareJournal), breaks=("I12",)),
    "acknowledge a submit early": Case(parts=Parts(judicator=AnswersEarly), breaks=("I1",)),
    "acknowledge an outcome early": Case(patch=acknowledges_early, breaks=("I9", "I20"), shown_by=156),
    "start without the gate": Case(parts=Parts(machine=StartsAnyway), breaks=("I9",), shown_by=33),
    "capacity not counted": Case(patch=capacity_not_counted, breaks=("I13",)),
    "unknown taken as saved": Case(
        parts=Parts(leading=TrustingLeading), breaks=("I9", "I10", "I14", "I20"), shown_by=47
    ),
}


def first_violation(name: str, seeds: int) -> tuple[int, str] | None:
    """Run seeds with that case until one violates; returns (seed, why)."""
    case = CASES[name]
    with case.patch():
        for seed in (case.shown_by, *range(seeds)):
            failed = run_seed(seed, case.parts).failed
            if failed:
                return failed[0]
    return None
