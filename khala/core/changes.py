"""What the leader asks of the store, and what the store answers.

A `Change` is one compare-and-set on a task's `rev`: as every change of a task adds one to `rev`, an
equal `rev` means that state, attempt, executor, incarnation and cancel request are all as the
decision saw them (P5). Changes travel in batches, each guarded by the leader's epoch (P1).
"""

from __future__ import annotations

from dataclasses import dataclass

from khala.core.task import Result, Task, TaskControl, TaskEvent, TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Replace the control part of `task_id` if its stored rev is still `expected_rev`.

    `control.rev` is `expected_rev + 1`, and `event` is appended in the same write. `result`, when
    given, is stored with it. `want_spec` asks for the specification when the change applied. At `purge_at`,
    when given, the task's time is up (`khala.core.retention`).
    """

    task_id: str
    expected_rev: int
    control: TaskControl
    event: TaskEvent
    result: Result | None = None
    want_spec: bool = False
    purge_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What became of one Change.

    `applied` is true if the store holds it. Otherwise `current` is the task as a majority read shows
    it (None: there is no such task), to be adopted, never guessed (P2). `spec` is there when the change
    applied and had `want_spec`.
    """

    task_id: str
    applied: bool
    current: Task | None = None
    spec: TaskSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inserted:
    """What became of one insert: created, repeated (same digest as stored) or conflict."""

    task_id: str
    answer: str
