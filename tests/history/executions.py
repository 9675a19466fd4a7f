"""The invariants that executors must keep: I7, I9, I10, I12, I13, I17 and I18."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from history.records import (
    AssignmentReceived,
    EpochAnswered,
    ExecutorOffered,
    OutputSettled,
    ProcessBegan,
    ProcessEnded,
    StoreRestored,
    TaskChanged,
    TaskInserted,
)
from history.violation import require

from khala.core.journal import Fact, JournalRecord
from khala.core.output import capture_of
from khala.core.task import ACTIVE, Epoch, OnDisconnect, Outcome, State, TaskControl

Attempt = tuple[str, int]


@dataclass(slots=True)
class Use:
    """What runs on one executor now, against what it offers."""

    offered: ExecutorOffered
    running: dict[Attempt, ProcessBegan] = field(default_factory=dict)

    def check(self) -> None:
        """I13: use never exceeds capacity."""
        offered, running = self.offered, self.running.values()
        cpus = sum(process.cpus for process in running)
        memory_bytes = sum(process.memory_bytes for process in running)
        fits = (
            len(running) <= offered.slots
            and cpus <= offered.cpus + 1e-9
            and (not offered.memory_bytes or memory_bytes <= offered.memory_bytes)
        )
        require(fits, "I13", "{} has too much: {}", offered, list(self.running))


@dataclass(slots=True)
class ExecutionHistories:
    """What the executors have done so far. In seconds: `margin_s` is the clock margin of I10, `grace_s` what
    an attempt may take beyond its wall limit. What a generation before `generation` gave has no part in what
    the store says, and takes room all the same."""

    margin_s: float = 0.0
    grace_s: float = 0.0
    generation: int = 0
    limits: dict[str, TaskInserted] = field(default_factory=dict)
    begun: dict[Attempt, str] = field(default_factory=dict)
    given: dict[Attempt, int] = field(default_factory=dict)
    ended: dict[Attempt, str] = field(default_factory=dict)
    outcomes: dict[Attempt, Outcome] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    executed: set[Attempt] = field(default_factory=set)
    answered: dict[str, Epoch] = field(default_factory=dict)
    received: dict[tuple[str, str, int], bool] = field(default_factory=dict)
    uses: dict[str, Use] = field(default_factory=dict)
    processes: dict[str, list[ProcessBegan]] = field(default_factory=lambda: defaultdict(list))

    def inserted(self, record: TaskInserted) -> None:
        """Learn a task's limits."""
        self.limits[record.task_id] = record

    def restored(self, record: StoreRestored) -> None:
        """Attempts that the store does not know any more never were, whatever becomes of them; so with those
        that a generation gave which the backup is older than, though it knows others of their number."""
        self.generation = record.generation
        self.received.clear()
        self.processes.clear()
        for key in list(self.begun):
            if self.given[key] > record.origin or not _happened(key, record.stored):
                for known in (self.begun, self.given, self.ended, self.outcomes):
                    known.pop(key, None)  # type: ignore[attr-defined]
        self.executed &= self.begun.keys()
        self.starts = Counter(task_id for task_id, _ in self.begun)

    def _is_lost(self, generation: int) -> bool:
        return 0 < generation < self.generation

    def offered(self, record: ExecutorOffered) -> None:
        """Learn an executor's capacity."""
        self.uses.setdefault(record.executor, Use(record)).offered = record

    def epoch_answered(self, record: EpochAnswered) -> None:
        """Remember what the executor has bound itself to."""
        known = self.answered.get(record.executor, Epoch())
        require(record.epoch >= known, "I12", "{} answered {} after {}", record.executor, record.epoch, known)
        self.answered[record.executor] = record.epoch

    def assignment_received(self, record: AssignmentReceived) -> None:
        """Note if this assignment may be obeyed; one timely delivery is enough."""
        key = (record.executor, record.task_id, record.attempt)
        timely = record.epoch >= self.answered.get(record.executor, Epoch())
        self.received[key] = self.received.get(key, False) or timely

    def journalled(self, executor: str, record: JournalRecord) -> None:
        """I9 for a start; I7 for an end."""
        key = (record.task_id, record.attempt)
        if self._is_lost(record.epoch.generation):
            return
        if record.fact == Fact.START:
            require(key not in self.begun, "I9", "{} began at {} and {}", key, self.begun.get(key), executor)
            self.begun[key], self.given[key] = executor, record.epoch.generation
            self.starts[record.task_id] += 1
            most = self.limits[record.task_id].max_attempts
            count = self.starts[record.task_id]
            require(count <= most, "I9", "{} started {} times of {}", record.task_id, count, most)
            timely = self.received.get((executor, *key), True)
            require(timely, "I12", "{} obeyed an older epoch than it had answered: {}", executor, key)
        elif record.fact == Fact.RETURNED:
            require(self.begun.pop(key, None) == executor, "I7", "{} came back without a start", key)
            require(key not in self.executed, "I9", "{} was executed and handed back", key)
            self.given.pop(key)
            self.starts[record.task_id] -= 1
        elif record.fact == Fact.END:
            require(self.begun.get(key) == executor, "I7", "{} ended at {} without a start", key, executor)
            require(key not in self.ended, "I7", "{} ended twice", key)
            self.ended[key] = executor
            if record.outcome is not None:
                self.outcomes[key] = record.outcome

    def began(self, record: ProcessBegan) -> None:
        """I9 and I13, and the half of I7 that wants the start on disk first."""
        key = (record.task_id, record.attempt)
        use = self.uses[record.executor]
        use.running[key] = record
        use.check()
        if not self._is_lost(record.generation):
            require(self.begun.get(key) == record.executor, "I7", "{} runs before its start is on disk", key)
            require(key not in self.executed, "I9", "{} was executed twice", key)
            self.executed.add(key)
            self.processes[record.task_id].append(record)

    def output_settled(self, record: OutputSettled) -> None:
        """I17: an outcome's output is stored before it, with the digest that the journal has; less than
        that is told as truncated."""
        key, said = record.key, record.capture
        outcome = self.outcomes.get((key.task_id, key.attempt))
        journalled = outcome and capture_of(outcome.result, key.phase, key.stream)
        if journalled is None:
            require(False, "I17", "{} is stored and not in the journal", key)
            return
        kept = record.stored[: said.stored_bytes]
        require(len(kept) == said.stored_bytes, "I17", "{} settled with {}: {}", key, len(kept), said)
        if said.stored_bytes < journalled.stored_bytes:
            require(said.truncated and not said.sha256, "I17", "{} was cut, and says {}", key, said)
            return
        digest = hashlib.sha256(kept).hexdigest()
        right = digest == said.sha256 == journalled.sha256
        require(right, "I17", "{} has digest {}, said {}, journalled {}", key, digest, said, journalled)

    def over(self, record: ProcessEnded) -> None:
        """I10: attempts of a `stop` task do not overlap. I18: no run is longer than its limit and grace."""
        key = (record.task_id, record.attempt)
        mine = self.uses[record.executor].running.pop(key)
        others = self.processes[record.task_id]
        if self._is_lost(mine.generation):
            return
        others.remove(mine)
        limit_s, ran_s = self.limits[record.task_id].wall_time_s, record.at - mine.at
        bounded = limit_s is None or ran_s <= limit_s + self.grace_s
        require(bounded, "I18", "{} ran {} s with a limit of {} s", key, round(ran_s, 3), limit_s)
        if self.limits[record.task_id].on_disconnect == OnDisconnect.STOP:
            for other in others:
                overlap_s = record.at - max(mine.at, other.at)
                require(
                    overlap_s <= self.margin_s,
                    "I10",
                    "attempts {} and {} of {} overlapped by {} s",
                    mine.attempt,
                    other.attempt,
                    record.task_id,
                    round(overlap_s, 3),
                )

    def changed(self, record: TaskChanged) -> None:
        """I7: a result comes from a journalled start and end of that attempt on that executor. I9: when
        no attempt is under way, every start is counted."""
        if record.event.kind == "ended":
            key = (record.task_id, record.event.attempt)
            executor = record.control.executor
            proved = self.begun.get(key) == executor and self.ended.get(key) == executor
            require(proved, "I7", "{} has a result that {} did not journal", key, executor)
        control = record.control
        if control.state not in ACTIVE:
            begun = self.starts[record.task_id]
            text = "{} began {} times and counts {} at {}"
            require(begun <= control.starts, "I9", text, record.task_id, begun, control.starts, record.event)


def _happened(key: Attempt, stored: Mapping[str, TaskControl]) -> bool:
    """Does a backup know of this attempt's start? One that is assigned there may start for all it knows."""
    task_id, attempt = key
    control = stored.get(task_id)
    if control is None or attempt > control.attempt:
        return False
    return attempt < control.attempt or control.state != State.ASSIGNED
