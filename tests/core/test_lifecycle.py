"""Every cell of the transition table: what is legal and what comes of it, and that all else raises."""

from __future__ import annotations

from dataclasses import replace

import pytest

from khala.core.lifecycle import (
    CRASH_LIMIT,
    KINDS,
    TRANSITIONS,
    Amended,
    Assigned,
    Cancelled,
    CancelRequested,
    DependencyFailed,
    Ended,
    IllegalTransition,
    Lost,
    PhaseEntered,
    QueueTimedOut,
    Retried,
    Returned,
    Started,
    transition,
)
from khala.core.task import Epoch, ExitReason, Outcome, Phase, State, TaskControl

EPOCH = Epoch(1, 7)
AT = 1_000.0
P, A, R = State.PENDING, State.ASSIGNED, State.RUNNING
S, F, C = State.SUCCEEDED, State.FAILED, State.CANCELLED

ASSIGNED = Assigned(executor="e1", incarnation="i1")
STARTED = Started(at=990.0, phase=Phase.COMPILE)
GOOD = Ended(
    outcome=Outcome(exit_reason=ExitReason.EXITED, succeeded=True, phase=Phase.EXECUTE, finished_at=999.0),
    started_at=990.0,
)
BAD = Ended(
    outcome=Outcome(exit_reason=ExitReason.MEMORY_LIMIT, reason="too big", finished_at=999.0),
    started_at=990.0,
)
RETRIED = Retried(outcome=BAD.outcome, not_before=1_030.0)
LOST = Lost(possibly_started=True, detail="e1 was lost", max_attempts=5)
HAPPENINGS = (
    ASSIGNED,
    STARTED,
    PhaseEntered(phase=Phase.EXECUTE),
    GOOD,
    LOST,
    Returned(detail="taken back"),
    CancelRequested(),
    Amended(),
    Cancelled(),
    RETRIED,
    QueueTimedOut(after_s=5.0),
    DependencyFailed(detail="x is failed"),
)
LEGAL = {
    (P, QueueTimedOut): F,
    (P, DependencyFailed): F,
    (A, Retried): P,
    (R, Retried): P,
    (P, Assigned): A,
    (P, CancelRequested): P,
    (P, Amended): P,
    (A, Amended): A,
    (R, Amended): R,
    (A, Started): R,
    (A, Ended): S,
    (A, Lost): P,
    (A, Returned): P,
    (A, CancelRequested): A,
    (R, PhaseEntered): R,
    (R, Ended): S,
    (R, Lost): P,
    (R, Returned): P,
    (R, CancelRequested): R,
}


def control_at(state: State, **changes: object) -> TaskControl:
    """A task that stands there in its first attempt."""
    begun = state in (A, R)
    control = TaskControl(
        rev=4,
        state=state,
        attempt=1,
        starts=1 if state == R else 0,
        executor="e1" if begun else "",
        incarnation="i1" if begun else "",
        started_at=990.0 if state == R else None,
    )
    return replace(control, **changes)


def after(control: TaskControl, happened: object) -> TaskControl:
    """The next control part."""
    return transition(control, happened, at=AT, epoch=EPOCH)[0]


@pytest.mark.parametrize("happened", HAPPENINGS, ids=lambda h: type(h).__name__)
@pytest.mark.parametrize("state", list(State))
def test_every_cell(state: State, happened: object) -> None:
    """Legal cells go where they should, with the next rev and an event that says so; the others raise."""
    control = control_at(state)
    to = LEGAL.get((state, type(happened)))
    if to is None:
        with pytest.raises(IllegalTransition, match=type(happened).__name__):
            after(control, happened)
        return
    moved, event = transition(control, happened, at=AT, epoch=EPOCH)
    assert (moved.state, moved.rev) == (to, 5)
    assert (event.kind, event.rev, event.from_state, event.to_state) == (KINDS[type(happened)], 5, state, to)
    assert (event.at, event.epoch, event.attempt, event.executor) == (
        AT,
        EPOCH,
        moved.attempt,
        moved.executor or control.executor,
    )


def test_the_table_has_no_other_cell() -> None:
    """`Cancelled` is legal once a cancel was requested; nothing else is missing above."""
    assert set(TRANSITIONS) == {*LEGAL, (P, Cancelled)}


@pytest.mark.parametrize("happened", HAPPENINGS, ids=lambda h: type(h).__name__)
@pytest.mark.parametrize(
    ("state", "ends"),
    [
        (P, {Cancelled: C, CancelRequested: P, Amended: P}),
        (A, {Started: R, Ended: C, Lost: C, Returned: C, CancelRequested: A, Amended: A}),
        (R, {PhaseEntered: R, Ended: C, Lost: C, Returned: C, CancelRequested: R, Amended: R}),
    ],
)
def test_every_cell_after_a_cancel_request(state: State, ends: dict[type, State], happened: object) -> None:
    """A task whose cancel is requested is never assigned, and ends as cancelled."""
    control = control_at(state, cancel_requested=True)
    to = ends.get(type(happened))
    if to is None:
        with pytest.raises(IllegalTransition):
            after(control, happened)
        return
    moved = after(control, happened)
    assert moved.state == to
    assert moved.cancel_requested
    assert moved.exit_reason == (ExitReason.CANCELLED if to == C else None)


def test_assigning_begins_the_next_attempt() -> None:
    """The number goes up by one; what an earlier attempt left is gone; nothing is counted as started."""
    control = control_at(P, attempt=2, starts=1, losses=1, phase=Phase.EXECUTE, started_at=1.0, reason="lost")
    moved = after(control, Assigned(executor="e2", incarnation="i2"))
    assert (moved.attempt, moved.executor, moved.incarnation) == (3, "e2", "i2")
    assert (moved.phase, moved.started_at, moved.reason) == (None, None, "")
    assert (moved.starts, moved.losses) == (1, 1)


def test_a_start_is_counted_once() -> None:
    """Seen or not: started then ended is one start, and so is an end without a seen start."""
    running = after(control_at(A), STARTED)
    assert (running.starts, running.phase, running.started_at) == (1, Phase.COMPILE, 990.0)
    assert after(running, GOOD).starts == 1
    assert after(control_at(A), GOOD).starts == 1


def test_an_outcome_is_kept_whole() -> None:
    """State, reason, phase and times are the outcome's."""
    good, bad = after(control_at(R), GOOD), after(control_at(R), BAD)
    assert (good.state, good.exit_reason, good.phase) == (S, ExitReason.EXITED, Phase.EXECUTE)
    assert (good.started_at, good.finished_at) == (990.0, 999.0)
    assert (bad.state, bad.exit_reason, bad.reason) == (F, ExitReason.MEMORY_LIMIT, "too big")


def test_a_returned_attempt_did_not_start() -> None:
    """Its number is used up, its start (a gated one was saved before) is not counted."""
    for state in (A, R):
        moved = after(control_at(state), Returned(detail="draining"))
        assert (moved.state, moved.attempt, moved.starts, moved.losses) == (P, 1, 0, 0)
        assert (moved.executor, moved.incarnation, moved.queued_at, moved.reason) == ("", "", AT, "draining")


@pytest.mark.parametrize(
    ("state", "possibly_started", "starts", "losses"),
    [(A, True, 1, 1), (A, False, 0, 0), (R, True, 1, 1), (R, False, 1, 0)],
)
def test_losses_and_starts_are_counted(
    state: State, possibly_started: bool, starts: int, losses: int
) -> None:
    """An unseen start counts if it may have been; a seen one is counted already."""
    moved = after(control_at(state), replace(LOST, possibly_started=possibly_started))
    assert (moved.state, moved.starts, moved.losses) == (P, starts, losses)


def test_the_last_start_lost_fails() -> None:
    """max_attempts counts starts, not attempt numbers."""
    control = control_at(R, attempt=9, starts=2)
    assert after(control, replace(LOST, max_attempts=3)).state == P
    moved = after(control, replace(LOST, max_attempts=2))
    assert (moved.state, moved.exit_reason, moved.finished_at) == (F, ExitReason.EXECUTOR_LOST, AT)
    assert "e1 was lost; started 2 of 2 times" in moved.reason


def test_a_single_attempt_that_did_not_start_waits_again() -> None:
    """max_attempts 1 and a loss before the start was saved: nothing ran, so it may run."""
    assert after(control_at(A), replace(LOST, possibly_started=False, max_attempts=1)).state == P


def test_poison() -> None:
    """The fifth executor lost with it fails the task, whatever its max_attempts."""
    control = control_at(R, starts=CRASH_LIMIT, losses=CRASH_LIMIT - 2)
    once_more = after(control, replace(LOST, max_attempts=100))
    assert (once_more.state, once_more.losses) == (P, CRASH_LIMIT - 1)
    control = replace(control, losses=CRASH_LIMIT - 1)
    moved = after(control, replace(LOST, max_attempts=100))
    assert (moved.state, moved.exit_reason, moved.losses) == (F, ExitReason.CRASH_LIMIT, CRASH_LIMIT)


def test_a_cancel_wins_over_limits() -> None:
    """A lost attempt of a task that should end anyway is cancelled, not failed."""
    control = control_at(R, cancel_requested=True, starts=5, losses=CRASH_LIMIT - 1)
    assert after(control, LOST).state == C


def test_the_event_tells_a_new_reason_only() -> None:
    """`detail` is what this step added to the story."""
    _, lost = transition(control_at(R), LOST, at=AT, epoch=EPOCH)
    _, asked = transition(control_at(R, reason="old"), CancelRequested(), at=AT, epoch=EPOCH)
    assert (lost.detail, lost.executor) == ("e1 was lost", "e1")
    assert asked.detail == ""


@pytest.mark.parametrize("state", [A, R])
def test_what_is_tried_again_waits_and_remembers_why(state: State) -> None:
    """The end counts as a start; the next assignment forgets the back-off; a cancel is no retry."""
    moved, event = transition(control_at(state), RETRIED, at=AT, epoch=EPOCH)
    assert (moved.starts, moved.not_before, moved.queued_at, moved.executor) == (1, 1_030.0, AT, "")
    assert event.detail == "attempt 1: too big"
    assert after(moved, ASSIGNED).not_before == 0.0
    with pytest.raises(IllegalTransition):
        after(control_at(state, cancel_requested=True), RETRIED)


def test_a_loss_that_is_not_to_be_tried_again_fails_what_may_have_started() -> None:
    """What surely never started is queued again."""
    once = replace(LOST, again=False)
    moved = after(control_at(A), once)
    assert (moved.state, moved.exit_reason) == (F, ExitReason.EXECUTOR_LOST)
    assert after(control_at(A), replace(once, possibly_started=False)).state == P


@pytest.mark.parametrize(
    ("happened", "reason"),
    [
        (QueueTimedOut(after_s=5.0), ExitReason.QUEUE_TIMEOUT),
        (DependencyFailed(detail="x is failed"), ExitReason.DEPENDENCY_FAILED),
    ],
    ids=["queue_timeout", "dependency_failed"],
)
def test_a_task_that_never_started_says_why_it_failed(happened: object, reason: ExitReason) -> None:
    """With a cancel requested it is the cancel that ends it."""
    moved = after(control_at(P), happened)
    assert (moved.state, moved.exit_reason, moved.finished_at) == (F, reason, AT)
    with pytest.raises(IllegalTransition):
        after(control_at(P, cancel_requested=True), happened)
