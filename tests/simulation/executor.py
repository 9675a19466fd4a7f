"""A simulated executor: the machine, a journal that survives crashes, a lease, and processes.

Effects wait in order for the disk, as in the actor: records first, in one sync, then everything else.
A crash in between keeps what was synced and loses the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from history.records import AssignmentReceived, EpochAnswered, ExecutorOffered, Journalled
from simulation.coordination import EXECUTOR_LEASE_S, Beat, View
from simulation.node import Node
from simulation.outputs import Delivering, PutAnswered
from simulation.processes import Processes

from khala.core.effects import DeliverOutput, DropSpool, Effect, Journal, Send, StartAttempt, StopAttempt
from khala.core.execution.holdings import Capacity
from khala.core.execution.lanes import Pace
from khala.core.execution.machine import ExecutorMachine
from khala.core.execution.speech import Identity
from khala.core.journal import JournalRecord
from khala.core.messages import AssignTask, ExecutorReport
from khala.core.task import Outcome, Phase

if TYPE_CHECKING:
    from simulation.world import World

BEAT_S = 0.9
TICK_S = 0.4
MARGIN_S = 0.5
"""T_self is this much before the lease can run out at etcd (T_lost)."""


class FixedPace(Pace):
    """Attempts here take seconds, and are given ahead as if they were short."""

    def __init__(self, ahead: int) -> None:
        super().__init__()
        self._ahead = ahead

    @property
    def ahead(self) -> int:
        """So many, whatever ended."""
        return self._ahead


class Executor(Node):
    """One executor; `journal` is its disk."""

    def __init__(self, world: World, name: str, capacity: Capacity, labels: dict[str, str]) -> None:
        super().__init__(world, name)
        self.capacity = capacity
        self.labels = labels
        self.journal: list[JournalRecord] = []
        self.processes = Processes(self)
        self.delivering = Delivering(self)
        self.lives = 0
        self.leaving = False
        self.leader = ""
        self.renewed_s = float("-inf")
        self.holds_lease = False
        self.machine: ExecutorMachine | None = None
        self._effects: list[Effect] = []
        self._flushing = False
        world.record(
            ExecutorOffered(world.clockwork.now_s, name, capacity.slots, capacity.cpus, capacity.memory_bytes)
        )

    # --- its life --------------------------------------------------------------------------------

    def wake(self) -> None:
        """A new incarnation rebuilds itself from the journal."""
        self.lives += 1
        self.incarnation = f"{self.name}#{self.lives}"
        self.leader, self.renewed_s, self.holds_lease = "", float("-inf"), False
        self._effects, self._flushing = [], False
        self.delivering.begin()
        self.machine = self.world.parts.machine(
            identity=Identity(executor=self.name, incarnation=self.incarnation, labels=self.labels),
            capacity=self.capacity,
            pace=FixedPace(self.world.habit.ahead),
        )
        self._take(self.machine.begin(tuple(self.journal), self.at()))
        self._beat()
        self._tick()

    def died(self) -> None:
        """Only the journal and the spools are left."""
        self.processes.executor_died()
        self.delivering.crashed()

    def crash_for(self, seconds: float) -> None:
        """Crash, and be started again by whoever watches it."""
        if self.up:
            self.crash()
            self.clockwork.after(seconds, self.boot)

    def crash(self) -> None:
        """kill -9; one that was leaving is not started again."""
        super().crash()
        if self.leaving:
            self.world.leave(self)

    def drain(self) -> None:
        """SIGTERM: hand back, finish, end; a new process follows, unless it is `leaving`."""
        if self.up and self.machine is not None:
            self._take(self.machine.drain(self.at()))

    def deadline_s(self) -> float:
        """Until when, in the world's time, a `stop` task may run."""
        return (self.renewed_s + EXECUTOR_LEASE_S - MARGIN_S) / self.rate

    # --- what comes in ---------------------------------------------------------------------------

    def receive(self, sender: str, message: object) -> None:
        """etcd or a leader says something."""
        self._look_at_lease()
        if isinstance(message, View):
            self.leader = message.leader
            self._renewed(message.sent_at_s)
            return
        if isinstance(message, PutAnswered):
            self.delivering.answered(message)
            return
        if isinstance(message, AssignTask):
            self.world.record(
                AssignmentReceived(
                    self.clockwork.now_s, self.name, message.task_id, message.attempt, message.epoch
                )
            )
        self._take(self.machine.handle(message, self.at()))

    def phase(self, effect: StartAttempt, phase: Phase) -> None:
        """A slot says that its attempt entered a phase."""
        self._look_at_lease()
        self._take(self.machine.phase_entered(effect.task_id, effect.attempt, phase, self.at()))

    def ended(self, effect: StartAttempt, outcome: Outcome, spooled: bool) -> None:
        """A slot says that its attempt is over."""
        self._look_at_lease()
        task_id, attempt = effect.task_id, effect.attempt
        self._take(self.machine.attempt_ended(task_id, attempt, outcome, self.at(), spooled=spooled))

    def given_back(self, effect: StartAttempt) -> None:
        """A slot has not begun what it was given ahead."""
        self._look_at_lease()
        self._take(self.machine.given_back(effect.task_id, effect.attempt, self.at()))

    def delivered(self, task_id: str, attempt: int, outcome: Outcome) -> None:
        """All output of an ended attempt is stored."""
        self._look_at_lease()
        self._take(self.machine.output_delivered(task_id, attempt, outcome, self.at()))

    # --- time ------------------------------------------------------------------------------------

    def _beat(self) -> None:
        self.send("etcd", Beat("executor", self.incarnation, self.clock_s()))
        self.post(BEAT_S, self._beat)

    def _renewed(self, sent_at_s: float) -> None:
        if sent_at_s > self.renewed_s:
            self.renewed_s = sent_at_s
            self.holds_lease = self.deadline_s() > self.clockwork.now_s
            self.clockwork.after(
                max(0.0, self.deadline_s() - self.clockwork.now_s) + 1e-6, self._deadline, self.renewed_s
            )

    def _deadline(self, renewed_s: float) -> None:
        if renewed_s == self.renewed_s:
            self.processes.deadline_passed()

    def _look_at_lease(self) -> None:
        if self.holds_lease and self.deadline_s() <= self.clockwork.now_s:
            self.holds_lease = False
            self.world.happened("executor saw its lease run out")
            self._take(self.machine.lease_lost(self.at()))

    def _tick(self) -> None:
        self._look_at_lease()
        self._take(self.machine.tick(self.at()))
        self.delivering.go_on()
        if self.machine.draining and not self.machine.busy and not self._effects:
            self.world.happened("executor drained")
            self.world.coordination.withdraw(self.name)
            if self.leaving:
                self.world.happened("executor left")
            self.crash_for(1.0)
            return
        self.post(TICK_S, self._tick)

    # --- effects ---------------------------------------------------------------------------------

    def _take(self, effects: list[Effect]) -> None:
        self._effects += effects
        if self._effects and not self._flushing:
            self._flushing = True
            self.post(self.clockwork.between(0.0001, 0.002), self._flush)

    def _flush(self) -> None:
        effects, self._effects = self._effects, []
        records = [effect.record for effect in effects if isinstance(effect, Journal)]
        self.write(records)
        if records:
            self.world.reached("journalled", self)
        if self.up:
            self.post(self.clockwork.between(0.0001, 0.001), self._act, effects)

    def write(self, records: list[JournalRecord]) -> None:
        """Put these on disk."""
        for record in records:
            self.journal.append(record)
            self.world.record(Journalled(self.clockwork.now_s, self.name, record))

    def _act(self, effects: list[Effect]) -> None:
        self._flushing = False
        for effect in effects:
            match effect:
                case Send(_, message):
                    self._say(message)
                case StartAttempt():
                    self.processes.start(effect)
                case StopAttempt():
                    self.processes.stop(effect.task_id, effect.attempt)
                case DeliverOutput():
                    self.delivering.deliver(effect)
                case DropSpool():
                    self.delivering.drop(effect)
        if self._effects:
            self._take([])

    def _say(self, message: object) -> None:
        if isinstance(message, ExecutorReport):
            self.world.record(EpochAnswered(self.clockwork.now_s, self.name, message.epoch))
        if self.leader:
            self.send(self.leader, message)
