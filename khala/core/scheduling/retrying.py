"""Whether an attempt that ended is made again, and when. Pure."""

from __future__ import annotations

from khala.core.lifecycle import Ended, Lost, Retried
from khala.core.messages import AttemptFinished
from khala.core.scheduling.ledger import Entry
from khala.core.task import Demand, ExitReason, State

MOST_BACKOFF_S = 3600.0


def end_of(entry: Entry, said: AttemptFinished, unix_s: float) -> Ended | Retried | Lost:
    """What the end of the entry's current attempt is to its task."""
    outcome, demand, control = said.outcome, entry.demand, entry.control
    if outcome.exit_reason == ExitReason.EXECUTOR_LOST:
        return loss_of(demand, outcome.reason, possibly_started=True)
    starts = control.starts + (control.state == State.ASSIGNED)
    wanted = not outcome.succeeded and outcome.exit_reason in demand.retry_on
    if not wanted or control.cancel_requested or starts >= demand.max_attempts:
        return Ended(outcome=outcome, started_at=said.started_at)
    backoff_s = min(demand.backoff_s * 2.0 ** (starts - 1), MOST_BACKOFF_S)
    return Retried(outcome=outcome, not_before=unix_s + backoff_s if backoff_s else 0.0)


def loss_of(demand: Demand, detail: str, *, possibly_started: bool) -> Lost:
    """What the loss of its executor is to a task."""
    return Lost(
        possibly_started=possibly_started,
        detail=detail,
        max_attempts=demand.max_attempts,
        again=ExitReason.EXECUTOR_LOST in demand.retry_on,
    )
