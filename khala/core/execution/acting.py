"""What an executor does with an attempt in hand: each step, its record on disk, and what is said of it.

The state that the steps change, too. When to take which step is for `khala.core.execution.machine`.
"""

from __future__ import annotations

from dataclasses import replace

from khala.core.effects import DropSpool, Effect, Journal, Send
from khala.core.execution import speech
from khala.core.execution.holdings import Capacity, Holding, Holdings, Status
from khala.core.execution.lanes import Pace
from khala.core.execution.speech import Identity
from khala.core.instant import Instant
from khala.core.journal import Fact, JournalRecord
from khala.core.output import has_stored
from khala.core.task import Epoch, Outcome

LEADER = "leader/scheduler"
ANNOUNCE_START_AFTER_S = 0.1
"""A start is told only of attempts that run at least this long: the end of a short one says it all."""


class Acting:
    """The attempts in hand, and the steps. Effects gather until they are taken."""

    def __init__(
        self,
        *,
        identity: Identity,
        capacity: Capacity,
        report_interval_s: float = 1.0,
        pace: Pace | None = None,
    ) -> None:
        self._me = identity
        self._capacity = capacity
        self._report_interval_s = report_interval_s
        self._holdings = Holdings(capacity)
        self._pace = pace or Pace()
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
    def has_waiting(self) -> bool:
        """Does anything wait for its turn?"""
        return bool(self._holdings.waiting or self._holdings.ahead)

    @property
    def in_hand(self) -> tuple[tuple[str, int], ...]:
        """All attempts that are, as (task, attempt)."""
        return tuple(self._holdings.by_key)

    def _start_what_fits(self, at: Instant) -> None:
        while (holding := self._holdings.next_to_start()) is not None:
            if holding.gated:
                self._holdings.occupy(holding, Status.ASKED)
                self._ask_to_start(holding, at)
            else:
                self._holdings.occupy(holding, Status.STARTED)
                self._start(holding, at)
        if self._holdings.waiting and (most := self._pace.ahead) > 0:
            self._give_ahead(most, at)

    def _give_ahead(self, most: int, at: Instant) -> None:
        """Give slots that run short attempts more of them, each its share, once half of it has gone."""
        waiting = self._holdings.waiting
        share = min(most, -(-len(waiting) // self._capacity.slots))
        for slot, lane in self._holdings.lanes.items():
            if lane.closed or len(lane.attempts) - 1 > most // 2:
                continue
            while len(lane.attempts) <= share and waiting:
                holding = next(iter(waiting.values()))
                if not lane.takes(holding):
                    return
                self._holdings.follow(holding, slot)
                self._order(holding, at)

    def _start(self, holding: Holding, at: Instant) -> None:
        holding.status = Status.STARTED
        self._begin(holding, at)
        self._order(holding, at)

    def _order(self, holding: Holding, at: Instant) -> None:
        """To its slot; on disk first, for it may begin at any time from then on."""
        if holding.spec is None:
            raise ValueError(f"{holding.task_id} has no specification")
        if not holding.noted:
            holding.noted = True
            self._journal(holding.record(Fact.START, at.unix_s))
        self._effects.append(holding.run(holding.spec))

    def _begin(self, holding: Holding, at: Instant) -> None:
        holding.started_at, holding.said_at = at.unix_s, at.boot_s

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
        if holding.noted:
            self._journal(holding.record(Fact.RETURNED, holding.started_at))
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

    def _outlive(self, holding: Holding, at: Instant) -> None:
        """End what began under an older generation, without a word; its number stays used for this life."""
        self._tombstones[(holding.task_id, holding.attempt)] = False
        if holding.in_slot:
            holding.superseded = True
            self._stop(holding)
        else:
            self._settle(holding, at)

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
