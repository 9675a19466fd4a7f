"""The simulated clients: each submits its tasks until they are acknowledged, and cancels or amends some.

A client knows a task by its idempotency key, from which the id follows, and repeats itself at another
judicator when it got no answer. What a restored store has lost it submits once more.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

from history.records import CancelAcknowledged, SubmitAcknowledged, Submitted
from simulation.node import Node

from khala.core.task import Task

if TYPE_CHECKING:
    from simulation.world import World

PATIENCE_S = 2.5


@dataclass(frozen=True, slots=True)
class Submit:
    """Store this task."""

    task: Task


@dataclass(frozen=True, slots=True)
class Cancel:
    """End this task."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Amend:
    """Give this task another priority."""

    task_id: str
    priority: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The task of this id is stored, in a store of this generation."""

    task_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class CancelAccepted:
    """The request is stored, or the task had finished; or there is no such task."""

    task_id: str
    generation: int
    found: bool = True


@dataclass(frozen=True, slots=True)
class AmendAccepted:
    """The change is stored, or the task had finished, or there is no such task."""

    task_id: str


class Client(Node):
    """One client; `waiting` is what it has not been told yet."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.waiting: dict[tuple[type, str], object] = {}
        self.submitted: dict[str, Task] = {}
        self.planned = 0

    def submit_later(self, delay_s: float, task: Task, cancel_after_s: float | None) -> None:
        """Plan one task, and maybe its cancel once it is acknowledged."""
        self.planned += 1
        self.clockwork.after(delay_s, self._submit, task, cancel_after_s)

    @property
    def done(self) -> bool:
        """Has it asked for all it will, and been answered?"""
        return not self.planned and not self.waiting

    def _submit(self, task: Task, cancel_after_s: float | None) -> None:
        self.world.record(Submitted(self.clockwork.now_s, task.id, task.spec.name))
        self.submitted[task.id] = task
        if cancel_after_s is not None:
            self.planned += 1
            self.clockwork.after(cancel_after_s, self._cancel, task.id)
        if self.clockwork.chance(0.15):
            self.planned += 1
            self.clockwork.after(self.clockwork.between(0.0, 3.0), self._amend, task.id)
        self.planned -= 1
        self._ask(Accepted, task.id, Submit(task))
        if self.clockwork.chance(0.1):
            self.send(self.world.any_judicator(), Submit(task))

    def _cancel(self, task_id: str) -> None:
        if (Accepted, task_id) in self.waiting:
            self.clockwork.after(1.0, self._cancel, task_id)
            return
        self.planned -= 1
        self._ask(CancelAccepted, task_id, Cancel(task_id))

    def submit_again(self, stored: Container[str]) -> None:
        """Most of what is not stored, soon."""
        for task in self.submitted.values():
            if (
                task.id not in stored
                and (Accepted, task.id) not in self.waiting
                and self.clockwork.chance(0.8)
            ):
                self.waiting[(Accepted, task.id)] = Submit(task)
                self.clockwork.after(self.clockwork.between(0.2, 3.0), self._repeat, Accepted, task.id)

    def _amend(self, task_id: str) -> None:
        self.planned -= 1
        self._ask(AmendAccepted, task_id, Amend(task_id, self.clockwork.rng.choice((-3, 0, 9))))

    def _ask(self, answer: type, task_id: str, question: object) -> None:
        self.waiting[(answer, task_id)] = question
        self._repeat(answer, task_id)

    def _repeat(self, answer: type, task_id: str) -> None:
        question = self.waiting.get((answer, task_id))
        if question is not None:
            self.send(self.world.any_judicator(), question)
            self.clockwork.after(PATIENCE_S, self._repeat, answer, task_id)

    def receive(self, sender: str, message: object) -> None:
        """Take an answer."""
        now_s = self.clockwork.now_s
        match message:
            case Accepted(task_id=task_id):
                if self._was_waiting(message) and self._counts(message.generation):
                    self.world.record(SubmitAcknowledged(now_s, task_id, f"key-{task_id}"))
            case CancelAccepted(task_id=task_id, found=found):
                if self._was_waiting(message) and found and self._counts(message.generation):
                    self.world.record(CancelAcknowledged(now_s, task_id))
            case AmendAccepted():
                self._was_waiting(message)

    def _was_waiting(self, answer: Accepted | CancelAccepted | AmendAccepted) -> bool:
        return self.waiting.pop((type(answer), answer.task_id), None) is not None

    def _counts(self, generation: int) -> bool:
        """What a lost store said binds nobody."""
        return generation == self.world.storage.memory.generation()
