"""What an executor has in hand, and the room that it takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from khala.core.effects import DeliverOutput, StartAttempt, StopAttempt
from khala.core.execution.lanes import Lane
from khala.core.journal import Fact, JournalRecord
from khala.core.task import Epoch, ExitReason, Outcome, TaskSpec


class Status(StrEnum):
    """held: waits for room. asked: gated, has room, waits to be cleared. ahead: given to a slot, behind what
    runs there. started: runs. finished: ended, its outcome is not acknowledged yet."""

    HELD = "held"
    ASKED = "asked"
    AHEAD = "ahead"
    STARTED = "started"
    FINISHED = "finished"


@dataclass(slots=True)
class Holding:
    """One attempt. `incarnation` is the one that it was assigned to, maybe an earlier process's, and `epoch`
    the one under which it was.
    `noted`: the journal has its start.
    `spooled`: there may be a spool of its output; `delivering`: its end is told when that is stored."""

    task_id: str
    attempt: int
    incarnation: str
    epoch: Epoch = Epoch()
    spec: TaskSpec | None = None
    gated: bool = False
    status: Status = Status.HELD
    slot: int = -1
    noted: bool = False
    started_at: float = 0.0
    phase: str = ""
    announced: str | None = None
    said_at: float = float("-inf")
    superseded: bool = False
    stopping: bool = False
    cut_off: bool = False
    outcome: Outcome | None = None
    spooled: bool = False
    delivering: bool = False

    def record(self, fact: Fact, at: float, outcome: Outcome | None = None) -> JournalRecord:
        """A journal record of this attempt; `at` is Unix seconds."""
        return JournalRecord(
            fact=fact,
            incarnation=self.incarnation,
            epoch=self.epoch,
            task_id=self.task_id,
            attempt=self.attempt,
            at=at,
            outcome=outcome,
        )

    def run(self, spec: TaskSpec) -> StartAttempt:
        """The order to run it in its slot."""
        return StartAttempt(
            slot=self.slot,
            task_id=self.task_id,
            attempt=self.attempt,
            spec=spec,
            epoch=self.epoch,
            ahead=self.status == Status.AHEAD,
        )

    @property
    def in_slot(self) -> bool:
        """Does a slot have it, whether it has begun or not?"""
        return self.status in (Status.STARTED, Status.AHEAD)

    def halt(self) -> StopAttempt:
        """The order to end it."""
        return StopAttempt(slot=self.slot, task_id=self.task_id, attempt=self.attempt)

    def deliver(self, outcome: Outcome) -> DeliverOutput:
        """The order to have stored what this outcome says of its output."""
        return DeliverOutput(task_id=self.task_id, attempt=self.attempt, outcome=outcome, epoch=self.epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What this executor offers: attempts at a time, cpus, and bytes of memory (0: unlimited)."""

    slots: int
    cpus: float
    memory_bytes: int = 0


@dataclass(slots=True)
class Holdings:
    """All attempts in hand by (task, attempt), in order of arrival, the free slots, and what the others
    have."""

    capacity: Capacity
    by_key: dict[tuple[str, int], Holding] = field(default_factory=dict)
    waiting: dict[tuple[str, int], Holding] = field(default_factory=dict)
    free_slots: list[int] = field(default_factory=list)
    lanes: dict[int, Lane] = field(default_factory=dict)
    ahead: int = 0
    taken_cpus: float = 0.0
    taken_memory_bytes: int = 0

    def __post_init__(self) -> None:
        self.free_slots = list(range(self.capacity.slots - 1, -1, -1))

    def add(self, holding: Holding) -> None:
        """Take an attempt in hand, to wait for room."""
        key = (holding.task_id, holding.attempt)
        self.by_key[key] = holding
        if holding.status == Status.HELD:
            self.waiting[key] = holding

    def get(self, task_id: str, attempt: int) -> Holding | None:
        """That attempt, if in hand."""
        return self.by_key.get((task_id, attempt))

    def next_to_start(self) -> Holding | None:
        """The first in order that fits into the room left, if any."""
        if not self.free_slots:
            return None
        for holding in self.waiting.values():
            if holding.spec is not None and self._fits(holding.spec):
                return holding
        return None

    def occupy(self, holding: Holding, status: Status) -> None:
        """Give a waiting attempt a slot and its share."""
        del self.waiting[(holding.task_id, holding.attempt)]
        holding.status = status
        holding.slot = self.free_slots.pop()
        self.lanes[holding.slot] = Lane(deque((holding,)))
        self._count(holding, 1)

    def follow(self, holding: Holding, slot: int) -> None:
        """Give a waiting attempt to a slot behind what it has; its share is that of the one before it."""
        del self.waiting[(holding.task_id, holding.attempt)]
        holding.status, holding.slot = Status.AHEAD, slot
        self.lanes[slot].attempts.append(holding)
        self.ahead += 1

    def vacate(self, holding: Holding) -> Holding | None:
        """Take back slot and share; the one that comes next there, if it was that one's turn."""
        if holding.slot < 0:
            return None
        slot, holding.slot = holding.slot, -1
        lane = self.lanes[slot]
        if lane.attempts[0] is not holding:
            lane.attempts.remove(holding)
            self.ahead -= 1
            return None
        lane.attempts.popleft()
        self._count(holding, -1)
        if not lane.attempts:
            del self.lanes[slot]
            self.free_slots.append(slot)
            return None
        lane.closed = False
        following = lane.attempts[0]
        following.status = Status.STARTED
        self.ahead -= 1
        self._count(following, 1)
        return following

    def wait_again(self, holding: Holding) -> None:
        """A slot gave it back: before all that came later."""
        self.lanes[holding.slot].closed = True
        self.vacate(holding)
        holding.status = Status.HELD
        self.waiting = {(holding.task_id, holding.attempt): holding, **self.waiting}

    def _count(self, holding: Holding, sign: int) -> None:
        if holding.spec is not None:
            self.taken_cpus += sign * holding.spec.resources.cpus
            self.taken_memory_bytes += sign * holding.spec.resources.memory_bytes

    def drop(self, holding: Holding) -> None:
        """Forget an attempt altogether."""
        self.vacate(holding)
        key = (holding.task_id, holding.attempt)
        self.by_key.pop(key, None)
        self.waiting.pop(key, None)

    def __iter__(self) -> Iterator[Holding]:
        return iter(list(self.by_key.values()))

    def _fits(self, spec: TaskSpec) -> bool:
        memory_bytes = self.capacity.memory_bytes
        return self.taken_cpus + spec.resources.cpus <= self.capacity.cpus and (
            not memory_bytes or self.taken_memory_bytes + spec.resources.memory_bytes <= memory_bytes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What a journal says: the newest epoch obeyed, attempts begun without an end, and outcomes
    that nobody has acknowledged, both as (record of the start or the end). `outlived` are the starts of
    attempts of an older generation than that epoch's: nobody wants to hear of them (P4)."""

    epoch: Epoch
    crashed: tuple[JournalRecord, ...]
    unacknowledged: tuple[tuple[JournalRecord, JournalRecord], ...]
    outlived: tuple[JournalRecord, ...] = ()

    def records(self) -> list[JournalRecord]:
        """The records that say the same, for a compacted journal."""
        kept = [JournalRecord(fact=Fact.EPOCH, epoch=self.epoch), *self.crashed]
        for start, end in self.unacknowledged:
            kept += [start, end]
        return kept


def remember(records: Sequence[JournalRecord]) -> Remembered:
    """Replay a journal."""
    epoch = Epoch()
    begun: dict[tuple[str, int], JournalRecord] = {}
    ended: dict[tuple[str, int], JournalRecord] = {}
    for record in records:
        key = (record.task_id, record.attempt)
        if record.fact == Fact.EPOCH:
            epoch = max(epoch, record.epoch)
        elif record.fact == Fact.START:
            begun[key] = record
        elif record.fact == Fact.END:
            ended[key] = record
        elif record.fact in (Fact.SETTLED, Fact.RETURNED):
            begun.pop(key, None)
            ended.pop(key, None)
    starts = ended | begun
    outlived = {key: start for key, start in starts.items() if not start.epoch.shares_generation(epoch)}
    return Remembered(
        epoch=epoch,
        crashed=tuple(start for key, start in begun.items() if key not in ended and key not in outlived),
        unacknowledged=tuple((starts[key], end) for key, end in ended.items() if key not in outlived),
        outlived=tuple(outlived.values()),
    )


def lost_outcome(reason: str, at: float) -> Outcome:
    """How an attempt ended that went with its executor; `at` is Unix seconds."""
    return Outcome(exit_reason=ExitReason.EXECUTOR_LOST, reason=reason, finished_at=at)


def ended_holding(start: JournalRecord, outcome: Outcome | None) -> Holding:
    """An attempt of an earlier life that ended, to be told until it is settled."""
    return Holding(
        task_id=start.task_id,
        attempt=start.attempt,
        incarnation=start.incarnation,
        epoch=start.epoch,
        status=Status.FINISHED,
        started_at=start.at,
        outcome=outcome,
        spooled=True,
    )
