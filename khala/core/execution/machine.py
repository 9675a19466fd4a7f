"""The executor as a state machine: events in, effects out.

What it promises its leader (P8, P9): an assignment of an older epoch, of another incarnation, at or
below the highest number seen, or of an attempt once handed back is never started; a start is on disk
before anything executes and an end before anybody is told; an end is told when what belongs to it is
stored (P6), and again and again, to each new leader, until it is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from khala.core.effects import Effect
from khala.core.execution.acting import Acting
from khala.core.execution.holdings import (
    Holding,
    Status,
    ended_holding,
    lost_outcome,
    remember,
)
from khala.core.execution.lanes import began_at
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

CUT_OFF = "the executor was cut off from the cluster for longer than its lease"
NO_ROOM = "its executor's disk has no room for another workspace"
SAY_AGAIN_S = 1.0
LEASE_GAP = 1 << 20
"""How many assignment numbers are refused when a lease runs out: more than can be under way."""


class ExecutorMachine(Acting):
    """All of an executor's decisions during one incarnation (one life of its process)."""

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
        if holding is not None and holding.in_slot:
            following = self._holdings.vacate(holding)
            if following is not None:
                self._begin(following, at)
            self._pace.note(outcome)
            # One that was given ahead began before anybody heard that the one before it had ended, or never.
            started_at = holding.started_at or at.unix_s
            holding.started_at = min((started_at, *filter(None, began_at(outcome))))
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

    def given_back(self, task_id: str, attempt: int, at: Instant) -> list[Effect]:
        """A slot has not begun what it was given ahead, for the one before it takes long."""
        holding = self._holdings.get(task_id, attempt)
        if holding is not None and holding.status == Status.AHEAD:
            self._holdings.wait_again(holding)
            if holding.superseded:
                self._settle(holding, at)
            elif holding.stopping:
                self._hand_back(holding, "aborted before it started")
            elif self.draining or not self.has_room:
                self._hand_back(holding, "the executor is draining" if self.draining else NO_ROOM)
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
            if holding.in_slot or holding.status == Status.FINISHED:
                self._outlive(holding, at)
            else:
                self._hand_back(holding, "the store was restored")

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
        elif message.superseded and holding.in_slot:
            holding.superseded = True
            self._stop(holding)

    def _mine(self, task_id: str, attempt: int, incarnation: str) -> Holding | None:
        """The attempt in hand; an unknown one of this incarnation can never start from now on."""
        holding = self._holdings.get(task_id, attempt)
        if holding is None and incarnation == self._me.incarnation:
            self._tombstones.setdefault((task_id, attempt), False)
            self._return(task_id, attempt, self._epoch, "not held")
        return holding
