"""The executor as a state machine: events in, effects out.

What it promises its leader (P8, P9): an assignment of an older epoch, of another incarnation, at or
below the highest number seen, or of an attempt once handed back is never started; a start is on disk
before anything executes and an end before anybody is told; an end is told when what belongs to it is
stored (P6), and again and again, to each new leader, until it is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from khala.core.effects import DropSpool, Effect, Journal, Send
from khala.core.execution import speech
from khala.core.execution.holdings import (
    Capacity,
    Holding,
    Holdings,
    Status,
    ended_holding,
    lost_outcome,
    remember,
)
from khala.core.execution.speech import Identity
from khala.core.instant import Instant
from khala.core.journal import Fact, JournalRecord
from khala.core.messages import (
    AbortAttempt,
    AssignTask,
    LeaderAnnounced,
    OutcomeSettled,
    RecallAttempt,
    StartCleared,
)
from khala.core.output import has_stored
from khala.core.task import Epoch, OnDisconnect, Outcome, Phase

LEADER = "leader/scheduler"
CUT_OFF = "the executor was cut off from the cluster for longer than its lease"
NO_ROOM = "its executor's disk has no room for another workspace"
SAY_AGAIN_S = 1.0
LEASE_GAP = 1 << 20
"""How many assignment numbers are refused when a lease runs out: more than can be under way."""
ANNOUNCE_START_AFTER_S = 0.1
"""A start is told only of attempts that run at least this long: the end of a short one says it all."""


class ExecutorMachine:
    """All of an executor's decisions during one incarnation (one life of its process)."""

    def __init__(self, *, identity: Identity, capacity: Capacity, report_interval_s: float = 1.0) -> None:
        self._me = identity
        self._capacity = capacity
        self._report_interval_s = report_interval_s
        self._holdings = Holdings(capacity)
        self._tombstones: dict[tuple[str, int], bool] = {}  # to: was it in hand, and never began?
        self._epoch = Epoch()
        self._highest: tuple[Epoch, int] = (Epoch(), 0)
        self._report_number = 0
        self._reported_at = float("-inf")
        self._effects: list[Effect] = []
        self.draining = False
        self.has_room = True
        self.load = 0.0

    @property
    def epoch(self) -> Epoch:
        """The newest epoch that this executor obeys."""
        return self._epoch

    @property
    def busy(self) -> bool:
        """Is anything in hand that has not been handed back or settled?"""
        return bool(self._holdings.by_key)

    @property
    def in_hand(self) -> tuple[tuple[str, int], ...]:
        """All attempts that are, as (task, attempt)."""
        return tuple(self._holdings.by_key)

    def begin(self, journal: Sequence[JournalRecord], at: Instant) -> list[Effect]:
        """Rebuild from the journal of earlier lives; attempts that ran when one died have ended."""
        past = remember(journal)
        self._epoch = past.epoch
        self._journal(JournalRecord(fact=Fact.INCARNATION, incarnation=self._me.incarnation, at=at.unix_s))
        for start in past.outlived:
            self._outlive(ended_holding(start, None), at)
        for start, end in past.unacknowledged:
            holding = ended_holding(start, end.outcome)
            self._holdings.add(holding)
            self._deliver(holding)
        for start in past.crashed:
            outcome = lost_outcome(f"executor {self._me.executor} died while it ran", at.unix_s)
            holding = ended_holding(start, outcome)
            self._holdings.add(holding)
            self._journal(holding.record(Fact.END, at.unix_s, outcome))
            self._deliver(holding)
        return self._take_effects()

    def handle(self, message: object, at: Instant) -> list[Effect]:
        """Take one message of the leader."""
        handlers: dict[type, Callable[..., None]] = {
            LeaderAnnounced: self._leader_announced,
            AssignTask: self._assign_task,
            StartCleared: self._start_cleared,
            RecallAttempt: self._recall_attempt,
            AbortAttempt: self._abort_attempt,
            OutcomeSettled: self._outcome_settled,
        }
        handler = handlers.get(type(message))
        if handler is None:
            raise TypeError(f"an executor does not understand {type(message).__name__}")
        if isinstance(message, OutcomeSettled) or self._obeys(message.epoch, at):  # type: ignore[attr-defined]
            handler(message, at)
        self._start_what_fits(at)
        return self._take_effects()

    def phase_entered(self, task_id: str, attempt: int, phase: Phase, at: Instant) -> list[Effect]:
        """A running attempt began this phase."""
        holding = self._holdings.get(task_id, attempt)
        if holding is not None and holding.status == Status.STARTED:
            holding.phase = phase
            holding.said_at = at.boot_s
        return self._take_effects()

    def attempt_ended(
        self, task_id: str, attempt: int, outcome: Outcome, at: Instant, *, spooled: bool = False
    ) -> list[Effect]:
        """A running attempt is over, its processes gone: on disk first, then told. `spooled`: some of its
        output is in a spool, or was."""
        holding = self._holdings.get(task_id, attempt)
        if holding is not None and holding.status == Status.STARTED:
            self._holdings.vacate(holding)
            holding.spooled = spooled or has_stored(outcome)
            if holding.superseded:
                self._settle(holding, at)
            else:
                if holding.cut_off:
                    outcome = lost_outcome(CUT_OFF, at.unix_s)
                holding.status, holding.outcome, holding.spec = Status.FINISHED, outcome, None
                self._journal(holding.record(Fact.END, at.unix_s, outcome))
                if not self._deliver(holding):
                    self._tell_end(holding, outcome, at)
        self._start_what_fits(at)
        return self._take_effects()

    def output_delivered(self, task_id: str, attempt: int, outcome: Outcome, at: Instant) -> list[Effect]:
        """What an ended attempt had to deliver is on a majority's disk; `outcome` says how much that is."""
        holding = self._holdings.get(task_id, attempt)
        if holding is not None and holding.delivering:
            holding.delivering, holding.outcome = False, outcome
            self._tell_end(holding, outcome, at)
        return self._take_effects()

    def drain(self, at: Instant) -> list[Effect]:
        """Hand back what has not started and take nothing more; what runs goes on."""
        self.draining = True
        self._hand_back_waiting("the executor is draining")
        self._report(at)
        return self._take_effects()

    def undrain(self, at: Instant) -> list[Effect]:
        """Take attempts again."""
        self.draining = False
        self._report(at)
        return self._take_effects()

    def room_measured(self, at: Instant, *, room: bool) -> list[Effect]:
        """While its disk is full an executor is closed: what started there could only fail. What waits is
        handed back, what runs goes on."""
        if room != self.has_room:
            self.has_room = room
            if not room:
                self._hand_back_waiting(NO_ROOM)
            self._report(at)
        return self._take_effects()

    def lease_lost(self, at: Instant) -> list[Effect]:
        """The lease may be over by this node's own clock (T_self), once for each time that it runs out.

        From now on a leader may give away what it gave to this executor, so what waits here and must
        not overlap (`stop`, P11) is handed back, and every assignment that is still under way is
        refused by number: the next report says so, and a leader goes on above it. A running `stop`
        attempt is ended, and reported as lost with its executor.
        """
        for holding in self._holdings:
            if holding.spec is None or holding.spec.on_disconnect != OnDisconnect.STOP:
                continue
            if holding.status in (Status.HELD, Status.ASKED):
                self._hand_back(holding, CUT_OFF)
            else:
                holding.cut_off = True
                self._stop(holding)
        epoch, sequence = self._highest
        self._highest = (self._epoch, (sequence if epoch == self._epoch else 0) + LEASE_GAP)
        self._report(at)
        self._start_what_fits(at)
        return self._take_effects()

    def tick(self, at: Instant) -> list[Effect]:
        """Say again what nobody has answered, and report; call a few times a second."""
        for holding in self._holdings:
            if holding.status == Status.FINISHED and holding.outcome is not None:
                if not holding.delivering and at.boot_s - holding.said_at >= SAY_AGAIN_S:
                    self._tell_end(holding, holding.outcome, at)
            elif holding.status == Status.ASKED:
                if at.boot_s - holding.said_at >= SAY_AGAIN_S:
                    self._ask_to_start(holding, at)
            elif holding.status == Status.STARTED:
                self._tell_start(holding, at)
        if at.boot_s - self._reported_at >= self._report_interval_s:
            self._report(at)
        return self._take_effects()

    def obeys_sequence(self, message: AssignTask) -> bool:
        """Is this assignment new? Everything at or below the highest number seen is refused (P8)."""
        return (message.epoch, message.sequence) > self._highest

    def _obeys(self, epoch: Epoch, at: Instant) -> bool:
        """Older leaders are refused for good; a newer one is noted on disk before it is answered."""
        if epoch < self._epoch:
            return False
        if epoch > self._epoch:
            if epoch.generation > self._epoch.generation:
                self._end_generation(at)
            self._epoch = epoch
            self._journal(JournalRecord(fact=Fact.EPOCH, epoch=epoch))
        return True

    def _end_generation(self, at: Instant) -> None:
        """A restored store does not know what was given by the lost one: all of it is superseded (P4)."""
        for holding in self._holdings:
            if holding.status in (Status.STARTED, Status.FINISHED):
                self._outlive(holding, at)
            else:
                self._hand_back(holding, "the store was restored")

    def _outlive(self, holding: Holding, at: Instant) -> None:
        """End what began under an older generation, without a word; its number stays used for this life."""
        self._tombstones[(holding.task_id, holding.attempt)] = False
        if holding.status == Status.STARTED:
            holding.superseded = True
            self._stop(holding)
        else:
            self._settle(holding, at)

    def _leader_announced(self, message: LeaderAnnounced, at: Instant) -> None:
        self._report(at)

    def _assign_task(self, message: AssignTask, at: Instant) -> None:
        key = (message.task_id, message.attempt)
        if message.incarnation != self._me.incarnation or not self.obeys_sequence(message):
            return
        self._highest = (message.epoch, message.sequence)
        if key in self._holdings.by_key and key not in self._tombstones:
            return
        if key in self._tombstones or self.draining or not self.has_room:
            why = "draining" if self.draining else "recalled" if self.has_room else NO_ROOM
            self._return(*key, message.epoch, why)
            return
        self._holdings.add(
            Holding(
                task_id=message.task_id,
                attempt=message.attempt,
                incarnation=message.incarnation,
                epoch=message.epoch,
                spec=message.spec,
                gated=message.gated,
            )
        )

    def _start_cleared(self, message: StartCleared, at: Instant) -> None:
        holding = self._holdings.get(message.task_id, message.attempt)
        if holding is not None and holding.status == Status.ASKED:
            self._start(holding, at)

    def _recall_attempt(self, message: RecallAttempt, at: Instant) -> None:
        holding = self._mine(message.task_id, message.attempt, message.incarnation)
        if holding is not None and holding.status in (Status.HELD, Status.ASKED):
            self._hand_back(holding, "taken back")

    def _abort_attempt(self, message: AbortAttempt, at: Instant) -> None:
        holding = self._mine(message.task_id, message.attempt, message.incarnation)
        if holding is None or (holding.status == Status.FINISHED and not message.superseded):
            return
        if holding.status in (Status.HELD, Status.ASKED):
            self._hand_back(holding, "aborted before it started")
        elif holding.status == Status.FINISHED:
            self._settle(holding, at)
        else:
            holding.superseded = holding.superseded or message.superseded
            self._stop(holding)

    def _outcome_settled(self, message: OutcomeSettled, at: Instant) -> None:
        holding = self._holdings.get(message.task_id, message.attempt)
        if holding is None or not holding.epoch.shares_generation(message.epoch):
            return
        if holding.status == Status.FINISHED:
            self._settle(holding, at)
        elif message.superseded and holding.status == Status.STARTED:
            holding.superseded = True
            self._stop(holding)

    def _mine(self, task_id: str, attempt: int, incarnation: str) -> Holding | None:
        """The attempt in hand; an unknown one of this incarnation can never start from now on."""
        holding = self._holdings.get(task_id, attempt)
        if holding is None and incarnation == self._me.incarnation:
            self._tombstones.setdefault((task_id, attempt), False)
            self._return(task_id, attempt, self._epoch, "not held")
        return holding

    def _start_what_fits(self, at: Instant) -> None:
        while (holding := self._holdings.next_to_start()) is not None:
            if holding.gated:
                self._holdings.occupy(holding, Status.ASKED)
                self._ask_to_start(holding, at)
            else:
                self._holdings.occupy(holding, Status.STARTED)
                self._start(holding, at)

    def _start(self, holding: Holding, at: Instant) -> None:
        if holding.spec is None:
            raise ValueError(f"{holding.task_id} has no specification")
        holding.status = Status.STARTED
        holding.started_at, holding.said_at = at.unix_s, at.boot_s
        self._journal(holding.record(Fact.START, at.unix_s))
        self._effects.append(holding.run(holding.spec))

    def _stop(self, holding: Holding) -> None:
        if not holding.stopping:
            holding.stopping = True
            self._effects.append(holding.halt())

    def _hand_back_waiting(self, reason: str) -> None:
        for holding in self._holdings:
            if holding.status in (Status.HELD, Status.ASKED):
                self._hand_back(holding, reason)

    def _hand_back(self, holding: Holding, reason: str) -> None:
        self._holdings.drop(holding)
        self._return(holding.task_id, holding.attempt, holding.epoch, reason)

    def _return(self, task_id: str, attempt: int, epoch: Epoch, reason: str) -> None:
        unknown = not self._tombstones.setdefault((task_id, attempt), True)
        self._send(speech.returned(self._me, task_id, attempt, epoch, reason, unknown=unknown))

    def _deliver(self, holding: Holding) -> bool:
        """Have the output of an ended attempt stored before its end is told; False if there is none to be
        stored. Of an attempt without a result, whatever its spool has counts."""
        outcome = holding.outcome
        if outcome is None or not (has_stored(outcome) or (holding.spooled and outcome.result is None)):
            return False
        holding.delivering = True
        self._effects.append(holding.deliver(outcome))
        return True

    def _settle(self, holding: Holding, at: Instant) -> None:
        self._holdings.drop(holding)
        self._journal(holding.record(Fact.SETTLED, at.unix_s))
        if holding.spooled:
            self._effects.append(DropSpool(task_id=holding.task_id, attempt=holding.attempt))

    def _ask_to_start(self, holding: Holding, at: Instant) -> None:
        holding.said_at = at.boot_s
        self._send(speech.start_requested(self._me, holding))

    def _tell_start(self, holding: Holding, at: Instant) -> None:
        long_enough = at.boot_s - holding.said_at >= ANNOUNCE_START_AFTER_S
        if holding.announced != holding.phase and long_enough:
            holding.announced = holding.phase
            self._send(speech.started(self._me, holding))

    def _tell_end(self, holding: Holding, outcome: Outcome, at: Instant) -> None:
        holding.said_at = at.boot_s
        self._send(speech.finished(self._me, holding, outcome))

    def _report(self, at: Instant) -> None:
        self._report_number += 1
        self._reported_at = at.boot_s
        said = speech.report(
            self._me, self._capacity, self._holdings, epoch=self._epoch, highest=self._highest
        )
        closed = self.draining or not self.has_room
        self._send(replace(said, number=self._report_number, draining=closed, load=self.load))

    def _journal(self, record: JournalRecord) -> None:
        self._effects.append(Journal(record))

    def _send(self, message: object) -> None:
        self._effects.append(Send(LEADER, message))

    def _take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
