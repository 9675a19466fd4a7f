"""Drives `khala.core.execution`: takes the leader's orders, keeps the journal, commands the slots.

Whatever its inbox held is handled as one batch: the records that it asked for go to disk with one
sync, and only then is anything sent or started; while the disk has no room for them, nothing is. That an
outcome is settled needs no sync of its own, nor an end before it is told: they go with the next batch. A
fault here ends the node, whose next life reads the journal; to go on with a state that may be wrong
would be worse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from khala.actors.actor import NodeActor, Stage
from khala.actors.endings import Endings, Hurry, hurry_of
from khala.actors.executor_messages import (
    AttemptEnded,
    Drain,
    LoadMeasured,
    OutputDelivered,
    SweepSpools,
)
from khala.actors.messages import Flush, Tick
from khala.actors.running import Running
from khala.bus.envelope import Envelope
from khala.bus.interface import JUDICATOR
from khala.core.effects import DeliverOutput, DropSpool, Effect, Journal, Send, StartAttempt, StopAttempt
from khala.core.execution.holdings import remember
from khala.core.execution.machine import ExecutorMachine
from khala.core.instant import Instant
from khala.core.journal import Fact, JournalRecord
from khala.core.messages import AttemptFinished
from khala.core.operations import DrainOrdered
from khala.core.output import has_files
from khala.errors import Fault, Unavailable
from khala.execution.job import JobEnded, JobReturned, OutputSpooled, PhaseStarted
from khala.execution.journal import Journal as JournalFile
from khala.execution.pool import LauncherPool

COMPACT_BYTES = 1 << 20
LEASE_MARGIN_S = 1.5
"""A cut-off executor ends its `stop` attempts this long before anybody may give them away: room for
the kill and for clocks of different rate."""
LOOK_AT_PEERS_S = 0.05


class Executor(NodeActor):
    """`drained` is called once, when the node was told to end after draining and has nothing in hand.
    `give_up(True)` publishes that this executor has reached no judicator for as long as a lease lasts,
    `give_up(False)` that it does again (P13). They must not block. What `pool` tells comes as messages.

    An operator's order to drain ends nothing, can be taken back, and is forgotten with this life.

    Essential: `machine` and `journal` serve one life of it.
    """

    open_to_nodes = True

    def __init__(
        self,
        stage: Stage,
        *,
        machine: ExecutorMachine,
        journal: JournalFile,
        pool: LauncherPool,
        drained: Callable[[], None],
        lease_until: Callable[[], float],
        lease_s: float,
        give_up: Callable[[bool], None],
    ) -> None:
        super().__init__(stage, "executor")
        self._machine = machine
        self._journal = journal
        self._drained = drained
        self._lease_until = lease_until
        self._lease_s = lease_s
        self._renew = pool.renew
        self._running = Running(pool, self._command)
        self._endings = Endings(self.send)
        self._give_up = give_up
        self._given_up = False
        self._reached_at: float | None = None
        self._looked_at = float("-inf")
        self._may_run_until = 0.0
        self._has_lease = False
        self._effects: list[Effect] = []
        self._hurry = Hurry.NONE
        self._at = stage.clock()
        self._flushing = False
        self._late = False
        self._no_room = False
        self._leaving = False
        self._told_drained = False
        self._compact_at = COMPACT_BYTES

    def now(self) -> Instant:
        """When the message at hand was looked at."""
        return self._at

    def begin(self) -> None:
        """Rebuild from the journal."""
        past = self._journal.load()
        self._take(self._machine.begin(past, self.now()))
        self.tell("delivery", SweepSpools(self._machine.in_hand))

    def on_receive(self, message: Any) -> None:
        """Before anything is handled, also right after a pause: does the lease still hold? (P11)"""
        now = self._at = self.stage.clock()
        self._note_reach(now.boot_s)
        until = self._surely_belongs_until() - LEASE_MARGIN_S
        if until > self._may_run_until:
            self._may_run_until = until
            self._renew(until)
        holds = until > now.boot_s
        if self._has_lease and not holds:
            self.log.warning("the lease ran out")
            self._take(self._machine.lease_lost(now))
        self._has_lease = holds
        super().on_receive(message)

    def _surely_belongs_until(self) -> float:
        """Until when nobody gives away what this executor has: its lease, while its word gets through."""
        reached_at = self._reached_at or 0.0
        return min(self._lease_until(), reached_at + self._lease_s)

    def _note_reach(self, now: float) -> None:
        """Is there a way to the leader, be it by another judicator? Without one, an executor that still has
        its lease would keep its tasks from everybody. What it knew a moment ago counts as that old."""
        if now - self._looked_at < LOOK_AT_PEERS_S:
            return
        self._looked_at = now
        if self._reached_at is None or any(p.role == JUDICATOR for p in self.stage.bus.peers().values()):
            self._reached_at = now
        given_up = now > self._reached_at + self._lease_s
        if given_up != self._given_up:
            self._given_up = given_up
            self.log.warning("no judicator is reached" if given_up else "a judicator is reached again")
            self._give_up(given_up)

    def _obey(self, order: object, envelope: Envelope) -> None:
        """A leader asks for a report, gives an attempt, lets a gated one execute, wants one back or ended, or
        has recorded an outcome."""
        self._take(self._machine.handle(order, self.now()))

    handle_leader_announced = handle_assign_task = handle_start_cleared = _obey
    handle_recall_attempt = handle_abort_attempt = handle_outcome_settled = _obey

    def handle_phase_started(self, started: PhaseStarted, envelope: Envelope) -> None:
        """A launcher began a phase."""
        self._take(self._machine.phase_entered(started.task_id, started.attempt, started.phase, self.now()))

    def handle_output_spooled(self, spooled: OutputSpooled, envelope: Envelope) -> None:
        """There is more output to deliver."""
        self.tell("delivery", self._running.spooled(spooled))

    def handle_job_ended(self, ended: JobEnded, envelope: Envelope) -> None:
        """A launcher is done, and nothing of the attempt is left."""
        told = self._running.job_ended(ended)
        if told is not None:
            self.handle_attempt_ended(told, envelope)

    def handle_job_returned(self, returned: JobReturned, envelope: Envelope) -> None:
        """A launcher has not begun what it was given ahead."""
        self._running.returned(returned)
        self._take(self._machine.given_back(returned.task_id, returned.attempt, self.now()))

    def handle_attempt_ended(self, ended: AttemptEnded, envelope: Envelope) -> None:
        """A slot's attempt is over."""
        spooled = self._running.forget(ended)
        effects = self._machine.attempt_ended(
            ended.task_id, ended.attempt, ended.outcome, self.now(), spooled=spooled
        )
        self._take(effects)

    def handle_output_delivered(self, delivered: OutputDelivered, envelope: Envelope) -> None:
        """An ended attempt's output is stored."""
        task_id, attempt, outcome = delivered.task_id, delivered.attempt, delivered.outcome
        self._take(self._machine.output_delivered(task_id, attempt, outcome, self.now()))

    def handle_load_measured(self, measured: LoadMeasured, envelope: Envelope) -> None:
        """The next report carries the load; without room nothing more is taken."""
        self._machine.load = measured.load
        if measured.room != self._machine.has_room:
            self.log.warning("the disk has room" if measured.room else "the disk has no room for workspaces")
        self._take(self._machine.room_measured(self.now(), room=measured.room))

    def handle_drain(self, drain: Drain, envelope: Envelope) -> None:
        """Hand back what has not started; end when the rest is done."""
        self._leaving = True
        self._take(self._machine.drain(self.now()))

    def handle_drain_ordered(self, order: DrainOrdered, envelope: Envelope) -> None:
        """An operator wants nothing to start here for a while, or wants it again."""
        if order.draining != self._machine.draining and not self._leaving:
            at = self.now()
            self._take(self._machine.drain(at) if order.draining else self._machine.undrain(at))

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """Time has passed. While the journal has no room the effects at hand wait, and no more are made."""
        if not self._no_room:
            self._take(self._machine.tick(self.now()))
            self._tell_drained()
        self._tell_ends()
        if self._effects:
            self._late = True
            self._flush_soon()

    def _take(self, effects: list[Effect]) -> None:
        self._effects += effects
        if effects:
            self._hurry = max(self._hurry, *map(hurry_of, effects))
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.tell(self.name, Flush())

    def _tell_drained(self) -> None:
        idle = not self._machine.busy and not self._effects
        if self._leaving and idle and not self._told_drained:
            self._told_drained = True
            self._drained()

    def handle_flush(self, flush: Flush, envelope: Envelope) -> None:
        """Disk first, then everything else, in order."""
        self._flushing = False
        ends_wait = not self._endings.is_time(self.now().boot_s, busy=self._machine.has_waiting)
        if not self._late and self._hurry <= (Hurry.FOR_ENDS if ends_wait else Hurry.NONE):
            return
        self._late = False
        if not self._write([effect.record for effect in self._effects if isinstance(effect, Journal)]):
            return
        effects, self._effects, self._hurry = self._effects, [], Hurry.NONE
        for effect in effects:
            match effect:
                case Send(_, AttemptFinished()):
                    self._endings.add(effect)
                case Send(destination, message):
                    self.send(destination, message)
                case StartAttempt():
                    self._running.start(effect)
                case StopAttempt():
                    self._running.stop(effect)
                case DeliverOutput():
                    self.tell("file-delivery" if has_files(effect.outcome) else "delivery", effect)
                case DropSpool():
                    self.tell("file-delivery", effect)
                    self.tell("delivery", effect)
                case Journal():
                    continue
                case _:
                    raise TypeError(f"an executor has no such effect: {effect!r}")
        self._tell_ends()
        self._compact()
        self._tell_drained()

    def _tell_ends(self) -> None:
        self._endings.tell(self.now().boot_s, busy=self._machine.has_waiting)

    def _command(self, slot: int, message: object) -> None:
        if not self.tell(f"slot-{slot}", message):
            raise Fault(f"slot {slot} is not there to take {type(message).__name__}")

    def _write(self, records: list[JournalRecord]) -> bool:
        """Put records on disk; False if there is no room for them now (Fault if the disk fails)."""
        try:
            if records:
                self._journal.append(records)
        except Unavailable as why:
            if not self._no_room:
                self.log.error("the journal has no room: this executor holds its breath", reason=str(why))
            self._no_room = True
            return False
        self._no_room = False
        return True

    def _compact(self) -> None:
        """Keep the journal small: what is settled is forgotten."""
        if self._journal.size_bytes <= self._compact_at:
            return
        past = self._journal.load()
        lives = [record for record in past if record.fact == Fact.INCARNATION][-1:]
        try:
            self._journal.compact([*lives, *remember(past).records()])
        except Unavailable as why:
            self.log.warning("the journal stays long", reason=str(why))
        self._compact_at = max(COMPACT_BYTES, 2 * self._journal.size_bytes)
