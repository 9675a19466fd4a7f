"""What must hold of outputs, and once all is at rest: I17, I19 and I20."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from history.records import (
    Healed,
    OutputProduced,
    OutputStored,
    Remained,
    StoreRestored,
    TaskChanged,
    TaskInserted,
)
from history.violation import require

from khala.core.task import TERMINAL


@dataclass(slots=True)
class Resting:
    """`bound_s`: how long after healing every task must have ended, in seconds."""

    bound_s: float
    produced: dict[tuple[str, int, str], tuple[int, str]] = field(default_factory=dict)
    inserted_at: dict[str, float] = field(default_factory=dict)
    ended_at: dict[str, float] = field(default_factory=dict)
    healed_at: list[float] = field(default_factory=list)

    def inserted(self, record: TaskInserted) -> None:
        """Remember when."""
        self.inserted_at[record.task_id] = record.at

    def changed(self, record: TaskChanged) -> None:
        """Remember when it ended."""
        if record.control.state in TERMINAL:
            self.ended_at[record.task_id] = record.at

    def output_produced(self, record: OutputProduced) -> None:
        """Remember what the executor has."""
        self.produced[(record.task_id, record.attempt, record.stream)] = (record.size, record.digest)

    def output_stored(self, record: OutputStored) -> None:
        """I17: stored output is what the journal says, and `truncated` says truly if it was cut."""
        key = (record.task_id, record.attempt, record.stream)
        there = self.produced.get(key)
        same = there == (record.size, record.digest)
        require(same, "I17", "{} is stored as {}, its executor has {}", key, record, there)
        cut = record.size > record.kept
        require(record.truncated == cut, "I17", "{} does not say truly if it was cut: {}", key, record)

    def restored(self, record: StoreRestored) -> None:
        """Forget ends that the store does not know of."""
        self.ended_at = {
            id: at
            for id, at in self.ended_at.items()
            if id in record.stored and record.stored[id].state in TERMINAL
        }

    def healed(self, record: Healed) -> None:
        """Remember when."""
        self.healed_at.append(record.at)

    def remained(self, record: Remained) -> None:
        """I19: at rest nothing is left."""
        require(False, "I19", "left behind: {}", record.what)

    def at_rest(self) -> None:
        """I20: after healing every task ended within the bound."""
        for task_id, ended_at in self.ended_at.items():
            index = bisect_left(self.healed_at, self.inserted_at[task_id])
            if index < len(self.healed_at):
                late_s = ended_at - self.healed_at[index]
                require(
                    late_s <= self.bound_s, "I20", "{} ended {} s after healing", task_id, round(late_s, 3)
                )
