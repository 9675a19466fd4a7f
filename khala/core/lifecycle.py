"""The only writer of a task's state: one table from (state, what happened) to the next control part.

A cell that is not in the table is impossible and raises `IllegalTransition` with the story so far.
Pure; called by the leader's scheduler, and by the store for a cancel request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from khala.core.task import Epoch, ExitReason, Outcome, Phase, State, TaskControl, TaskEvent
from khala.errors import Fault

CRASH_LIMIT = 5
"""A task that has taken this many executors down with it is failed as poison (P12)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """The leader gives the next attempt to an executor."""

    executor: str
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The current attempt executes (or, gated, is cleared to)."""

    at: float
    phase: Phase | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEntered:
    """The running attempt went on to another phase."""

    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The current attempt ended and its executor knows how."""

    outcome: Outcome
    started_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """The current attempt ended for a reason for which the task is tried again, not before `not_before`."""

    outcome: Outcome
    not_before: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The current attempt is gone with its executor. `possibly_started` counts it as a start, after which
    it is tried `again` only where its owner wants that."""

    possibly_started: bool
    detail: str
    max_attempts: int
    again: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The executor will never start the current attempt."""

    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Somebody asked that the task ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amended:
    """Labels or priority were changed: nothing that this table knows of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """A waiting task whose cancel is requested ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTimedOut:
    """It has waited for longer than its owner wanted."""

    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyFailed:
    """What it waits for cannot happen any more."""

    detail: str


Occurrence = (
    Assigned
    | Started
    | PhaseEntered
    | Ended
    | Retried
    | Lost
    | Returned
    | CancelRequested
    | Amended
    | Cancelled
    | QueueTimedOut
    | DependencyFailed
)


class IllegalTransition(Fault):
    """Something happened to a task that cannot happen in its state."""

    def __init__(self, control: TaskControl, occurrence: Occurrence) -> None:
        super().__init__(f"{occurrence!r} cannot happen to a task that stands at {control!r}")
        self.control = control
        self.occurrence = occurrence


def _assigned(control: TaskControl, happened: Assigned, at: float) -> TaskControl:
    if control.cancel_requested:
        raise IllegalTransition(control, happened)
    return replace(
        control,
        state=State.ASSIGNED,
        attempt=control.attempt + 1,
        executor=happened.executor,
        incarnation=happened.incarnation,
        phase=None,
        started_at=None,
        reason="",
        not_before=0.0,
    )


def _started(control: TaskControl, happened: Started, at: float) -> TaskControl:
    return replace(
        control,
        state=State.RUNNING,
        starts=control.starts + 1,
        phase=happened.phase,
        started_at=happened.at,
    )


def _phase_entered(control: TaskControl, happened: PhaseEntered, at: float) -> TaskControl:
    return replace(control, phase=happened.phase)


def _ended(control: TaskControl, happened: Ended, at: float) -> TaskControl:
    outcome = happened.outcome
    if control.cancel_requested:
        state, exit_reason = State.CANCELLED, ExitReason.CANCELLED
    else:
        state = State.SUCCEEDED if outcome.succeeded else State.FAILED
        exit_reason = outcome.exit_reason
    return replace(
        control,
        state=state,
        starts=control.starts + (control.state == State.ASSIGNED),
        exit_reason=exit_reason,
        reason=outcome.reason,
        phase=outcome.phase,
        started_at=happened.started_at,
        finished_at=outcome.finished_at,
    )


def _finish(control: TaskControl, state: State, why: ExitReason, reason: str, at: float) -> TaskControl:
    return replace(control, state=state, exit_reason=why, reason=reason, finished_at=at)


def _queue_again(control: TaskControl, reason: str, at: float) -> TaskControl:
    if control.cancel_requested:
        return _finish(control, State.CANCELLED, ExitReason.CANCELLED, reason, at)
    return replace(
        control,
        state=State.PENDING,
        executor="",
        incarnation="",
        phase=None,
        started_at=None,
        queued_at=at,
        reason=reason,
    )


def _retried(control: TaskControl, happened: Retried, at: float) -> TaskControl:
    if control.cancel_requested:
        raise IllegalTransition(control, happened)
    outcome, starts = happened.outcome, control.starts + (control.state == State.ASSIGNED)
    why = f"attempt {control.attempt}: {outcome.reason or outcome.exit_reason}"
    return replace(_queue_again(replace(control, starts=starts), why, at), not_before=happened.not_before)


def _lost(control: TaskControl, happened: Lost, at: float) -> TaskControl:
    started_unseen = control.state == State.ASSIGNED and happened.possibly_started
    control = replace(
        control,
        starts=control.starts + started_unseen,
        losses=control.losses + happened.possibly_started,
    )
    if not control.cancel_requested:
        if control.losses >= CRASH_LIMIT:
            reason = f"{control.losses} executors were lost while they ran it; the last: {happened.detail}"
            return _finish(control, State.FAILED, ExitReason.CRASH_LIMIT, reason, at)
        if happened.possibly_started and not happened.again:
            return _finish(control, State.FAILED, ExitReason.EXECUTOR_LOST, happened.detail, at)
        if control.starts >= happened.max_attempts:
            reason = f"{happened.detail}; started {control.starts} of {happened.max_attempts} times"
            return _finish(control, State.FAILED, ExitReason.EXECUTOR_LOST, reason, at)
    return _queue_again(control, happened.detail, at)


def _returned(control: TaskControl, happened: Returned, at: float) -> TaskControl:
    never_began = control.state == State.RUNNING
    return _queue_again(replace(control, starts=control.starts - never_began), happened.detail, at)


def _cancel_requested(control: TaskControl, happened: CancelRequested, at: float) -> TaskControl:
    return replace(control, cancel_requested=True)


def _amended(control: TaskControl, happened: Amended, at: float) -> TaskControl:
    return control


def _cancelled(control: TaskControl, happened: Cancelled, at: float) -> TaskControl:
    if not control.cancel_requested:
        raise IllegalTransition(control, happened)
    return _finish(control, State.CANCELLED, ExitReason.CANCELLED, "cancelled before it started", at)


def _queue_timed_out(control: TaskControl, happened: QueueTimedOut, at: float) -> TaskControl:
    if control.cancel_requested:
        raise IllegalTransition(control, happened)
    reason = f"it waited for more than {happened.after_s:g} s"
    return _finish(control, State.FAILED, ExitReason.QUEUE_TIMEOUT, reason, at)


def _dependency_failed(control: TaskControl, happened: DependencyFailed, at: float) -> TaskControl:
    if control.cancel_requested:
        raise IllegalTransition(control, happened)
    return _finish(control, State.FAILED, ExitReason.DEPENDENCY_FAILED, happened.detail, at)


TRANSITIONS: dict[tuple[State, type], Callable[[TaskControl, Any, float], TaskControl]] = {
    (State.PENDING, Assigned): _assigned,
    (State.PENDING, CancelRequested): _cancel_requested,
    (State.PENDING, Amended): _amended,
    (State.PENDING, Cancelled): _cancelled,
    (State.PENDING, QueueTimedOut): _queue_timed_out,
    (State.PENDING, DependencyFailed): _dependency_failed,
    (State.ASSIGNED, Started): _started,
    (State.ASSIGNED, Ended): _ended,
    (State.ASSIGNED, Retried): _retried,
    (State.ASSIGNED, Lost): _lost,
    (State.ASSIGNED, Returned): _returned,
    (State.ASSIGNED, CancelRequested): _cancel_requested,
    (State.ASSIGNED, Amended): _amended,
    (State.RUNNING, Amended): _amended,
    (State.RUNNING, PhaseEntered): _phase_entered,
    (State.RUNNING, Ended): _ended,
    (State.RUNNING, Retried): _retried,
    (State.RUNNING, Lost): _lost,
    (State.RUNNING, Returned): _returned,
    (State.RUNNING, CancelRequested): _cancel_requested,
}

KINDS = {
    Assigned: "assigned",
    Started: "started",
    PhaseEntered: "phase_entered",
    Ended: "ended",
    Retried: "retried",
    Lost: "lost",
    Returned: "returned",
    CancelRequested: "cancel_requested",
    Amended: "amended",
    Cancelled: "cancelled",
    QueueTimedOut: "queue_timed_out",
    DependencyFailed: "dependency_failed",
}


def transition(
    control: TaskControl, happened: Occurrence, *, at: float, epoch: Epoch
) -> tuple[TaskControl, TaskEvent]:
    """The next control part and the line of the story that goes with it; `at` is Unix seconds."""
    move = TRANSITIONS.get((control.state, type(happened)))
    if move is None:
        raise IllegalTransition(control, happened)
    after = replace(move(control, happened, at), rev=control.rev + 1)
    event = TaskEvent(
        rev=after.rev,
        kind=KINDS[type(happened)],
        at=at,
        from_state=control.state,
        to_state=after.state,
        attempt=after.attempt,
        epoch=epoch,
        executor=after.executor or control.executor,
        detail=after.reason if after.reason != control.reason else "",
    )
    return after, event
