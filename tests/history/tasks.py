"""The invariants that the stored tasks and the clients' answers must keep: I1–I6, I8, I11, I14, I16."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from history.records import (
    CancelAcknowledged,
    EpochTaken,
    StoreRestored,
    SubmitAcknowledged,
    Submitted,
    TaskChanged,
    TaskInserted,
)
from history.violation import require

from khala.core.task import TERMINAL, Epoch, State, TaskControl

P, A, R = State.PENDING, State.ASSIGNED, State.RUNNING
S, F, C = State.SUCCEEDED, State.FAILED, State.CANCELLED
LEGAL: dict[str, frozenset[tuple[State, State]]] = {
    "assigned": frozenset({(P, A)}),
    "started": frozenset({(A, R)}),
    "phase_entered": frozenset({(R, R)}),
    "ended": frozenset({(A, S), (A, F), (A, C), (R, S), (R, F), (R, C)}),
    "retried": frozenset({(A, P), (R, P)}),
    "lost": frozenset({(A, P), (A, F), (A, C), (R, P), (R, F), (R, C)}),
    "returned": frozenset({(A, P), (A, C), (R, P), (R, C)}),
    "cancel_requested": frozenset({(P, P), (A, A), (R, R)}),
    "amended": frozenset({(P, P), (A, A), (R, R)}),
    "cancelled": frozenset({(P, C)}),
    "queue_timed_out": frozenset({(P, F)}),
    "dependency_failed": frozenset({(P, F)}),
}
"""Written down here a second time, on purpose: the checker must not learn the rules from the judged."""


@dataclass(slots=True)
class TaskHistories:
    """What the store and the clients have shown so far."""

    submitted: dict[str, str] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)
    cancels: set[str] = field(default_factory=set)
    stored: dict[str, TaskControl] = field(default_factory=dict)
    task_of_key: dict[str, str] = field(default_factory=dict)
    epoch: Epoch = Epoch()
    holders: dict[Epoch, str] = field(default_factory=dict)
    seen: Counter[tuple[str, State, State]] = field(default_factory=Counter)

    def submit_began(self, record: Submitted) -> None:
        """Remember the intent."""
        self.submitted[record.task_id] = record.key

    def submit_acknowledged(self, record: SubmitAcknowledged) -> None:
        """I1: what is acknowledged is stored. I3: the same key gets the same task."""
        require(record.task_id in self.stored, "I1", "{} was acknowledged and is not stored", record.task_id)
        known = self.acknowledged.setdefault(record.key, record.task_id)
        require(known == record.task_id, "I3", "key {} got {} and {}", record.key, known, record.task_id)

    def cancel_acknowledged(self, record: CancelAcknowledged) -> None:
        """I14, first half: the request is stored, unless the task had finished."""
        control = self.stored.get(record.task_id)
        kept = control is not None and (control.cancel_requested or control.state in TERMINAL)
        require(kept, "I14", "the cancel of {} was acknowledged and is not stored", record.task_id)
        if control is not None and control.state not in TERMINAL:
            self.cancels.add(record.task_id)

    def inserted(self, record: TaskInserted) -> None:
        """I2: somebody submitted it. I3: one task a key. I4: the first rev is 1."""
        task_id = record.task_id
        require(task_id in self.submitted, "I2", "{} is stored and nobody submitted it", task_id)
        require(task_id not in self.stored, "I3", "{} was inserted twice", task_id)
        known = self.task_of_key.setdefault(record.key, task_id) if record.key else task_id
        require(known == task_id, "I3", "key {} has the tasks {} and {}", record.key, known, task_id)
        first = record.control
        require(first.rev == 1 and first.state == P, "I4", "{} begins at {}", task_id, first)
        self.stored[task_id] = first

    def epoch_taken(self, record: EpochTaken) -> None:
        """I11, first half: epochs strictly increase, and each has one holder."""
        require(record.epoch > self.epoch, "I11", "{} was taken after {}", record.epoch, self.epoch)
        require(record.epoch not in self.holders, "I11", "{} has two holders", record.epoch)
        self.epoch = record.epoch
        self.holders[record.epoch] = record.holder

    def restored(self, record: StoreRestored) -> None:
        """I11: a new generation outranks all before. What the backup lacks this store never promised."""
        require(record.generation > self.epoch.generation, "I11", "{} after {}", record, self.epoch)
        self.epoch = Epoch(record.generation, 0)
        self.stored = dict(record.stored)
        self.cancels = {task_id for task_id in self.cancels if self._asked_to_end(task_id)}
        for known in (self.acknowledged, self.task_of_key):
            for key in [key for key, task_id in known.items() if task_id not in self.stored]:
                del known[key]

    def _asked_to_end(self, task_id: str) -> bool:
        control = self.stored.get(task_id)
        return control is not None and control.cancel_requested

    def changed(self, record: TaskChanged) -> None:
        """I4, I5, I6, I8, I11 and I14, for one more change of a task."""
        task_id, after, event = record.task_id, record.control, record.event
        before = self.stored.get(task_id)
        if before is None:
            require(False, "I2", "{} changed and was never inserted", task_id)
            return
        if record.guard is not None:
            stale = "a write of {} to {} applied after {} was taken"
            require(record.guard >= self.epoch, "I11", stale, record.guard, task_id, self.epoch)
        require(before.state not in TERMINAL, "I5", "{} was {} and then {}", task_id, before.state, event)
        require(after.rev == before.rev + 1, "I4", "{}: rev {} after {}", task_id, after.rev, before.rev)
        require(event.rev == after.rev, "I4", "{}: the event says rev {}", task_id, event.rev)
        step = (event.from_state, event.to_state)
        require(step == (before.state, after.state), "I4", "{}: {} from {}", task_id, event, before)
        require(step in LEGAL.get(event.kind, ()), "I4", "{}: {} cannot be {}", task_id, event.kind, step)
        next_attempt = before.attempt + (event.kind == "assigned")
        require(after.attempt == next_attempt, "I8", "{}: attempt {}", task_id, after.attempt)
        if event.kind == "assigned":
            require(not before.cancel_requested, "I14", "{} was assigned after a cancel", task_id)
        if after.state in TERMINAL and task_id in self.cancels:
            require(after.state == C, "I14", "{} ended {} after its cancel", task_id, after.state)
        self.seen[(event.kind, before.state, after.state)] += 1
        self.stored[task_id] = after

    def at_rest(self, counts: Mapping[str, int]) -> None:
        """I1 and I16 of what the store says at the end; I5: exactly one terminal event each."""
        for key, task_id in self.acknowledged.items():
            require(task_id in self.stored, "I1", "{} (key {}) is gone", task_id, key)
        own = Counter(str(control.state) for control in self.stored.values())
        said = {str(state): number for state, number in counts.items() if number}
        require(said == dict(own), "I16", "the store counts {}, its tasks are {}", said, dict(own))
        unfinished = [task_id for task_id, control in self.stored.items() if control.state not in TERMINAL]
        require(not unfinished, "I20", "these never ended: {}", unfinished)
