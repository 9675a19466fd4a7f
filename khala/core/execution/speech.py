"""What an executor says to its leader: messages made from what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from khala.core.execution.holdings import Capacity, Holding, Holdings, Status
from khala.core.messages import (
    AttemptFinished,
    AttemptReturned,
    AttemptStarted,
    AttemptView,
    ExecutorReport,
    StartRequested,
)
from khala.core.task import Epoch, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this executor is; the rest only travels in its reports."""

    executor: str
    incarnation: str
    hostname: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    isolation: tuple[str, ...] = ("none", "basic")
    layers: Mapping[str, str] = field(default_factory=dict)


def view(holding: Holding) -> AttemptView:
    """One line of a report."""
    status = Status.HELD if holding.status in (Status.ASKED, Status.AHEAD) else holding.status
    return AttemptView(
        task_id=holding.task_id,
        attempt=holding.attempt,
        status=status,
        incarnation=holding.incarnation,
    )


def report(
    me: Identity, capacity: Capacity, holdings: Holdings, *, epoch: Epoch, highest: tuple[Epoch, int]
) -> ExecutorReport:
    """What this executor is and holds, of that epoch's generation; `highest` is the highest assignment number
    seen, with its epoch. Number, load and draining are the speaker's to fill in."""
    return ExecutorReport(
        executor=me.executor,
        incarnation=me.incarnation,
        number=0,
        epoch=epoch,
        highest_epoch=highest[0],
        highest_sequence=highest[1],
        slots=capacity.slots,
        cpus=capacity.cpus,
        memory_bytes=capacity.memory_bytes,
        labels=me.labels,
        hostname=me.hostname,
        attempts=tuple(view(holding) for holding in holdings if holding.epoch.shares_generation(epoch)),
        isolation=me.isolation,
        layers=me.layers,
    )


def start_requested(me: Identity, holding: Holding) -> StartRequested:
    """A gated attempt asks to execute."""
    return StartRequested(
        executor=me.executor,
        incarnation=holding.incarnation,
        task_id=holding.task_id,
        attempt=holding.attempt,
        epoch=holding.epoch,
    )


def started(me: Identity, holding: Holding) -> AttemptStarted:
    """An attempt executes, in this phase."""
    return AttemptStarted(
        executor=me.executor,
        incarnation=holding.incarnation,
        task_id=holding.task_id,
        attempt=holding.attempt,
        at=holding.started_at,
        phase=holding.phase,
        epoch=holding.epoch,
    )


def finished(me: Identity, holding: Holding, outcome: Outcome) -> AttemptFinished:
    """An attempt ended."""
    return AttemptFinished(
        executor=me.executor,
        incarnation=holding.incarnation,
        task_id=holding.task_id,
        attempt=holding.attempt,
        started_at=holding.started_at,
        outcome=outcome,
        epoch=holding.epoch,
    )


def returned(
    me: Identity, task_id: str, attempt: int, epoch: Epoch, reason: str, *, unknown: bool
) -> AttemptReturned:
    """An attempt will never start here."""
    return AttemptReturned(
        executor=me.executor,
        incarnation=me.incarnation,
        task_id=task_id,
        attempt=attempt,
        reason=reason,
        epoch=epoch,
        unknown=unknown,
    )
