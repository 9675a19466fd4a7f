"""Jobs as the JSON of `/api/v1`. Pure."""

from __future__ import annotations

from khala.core.jobs import Job
from khala.core.task import State
from khala.gateway.views import Json, spec_view, time_view


def job_view(job: Job) -> Json:
    """A job, and its template where that was read."""
    shown: Json = {
        "id": job.id,
        "name": job.name,
        "owner": job.owner,
        "state": job_state(job),
        "reason": job.reason,
        "cancel_requested": job.cancel_requested,
        "created_at": time_view(job.created_at),
        "finished_at": time_view(job.finished_at),
        "total": job.total,
        "created": job.created,
        "counts": {state.value: job.counts.get(state, 0) for state in State},
        "names": list(job.names),
        "max_parallel": job.max_parallel or None,
        "max_failures": job.max_failures,
        "retried_from": job.retried_from or None,
    }
    if job.template is not None:
        named = {"name": job.template.name, "labels": dict(job.template.labels)}
        shown["task"] = named | spec_view(job.template, contents=False)
    return shown


def job_state(job: Job) -> str:
    """pending, running, or how it ended: the worst of how its tasks did."""
    counts = job.counts
    if job.finished_at is None:
        begun = any(number for state, number in counts.items() if state != State.PENDING)
        return "running" if begun else "pending"
    if counts.get(State.CANCELLED) or job.cancel_requested:
        return "cancelled"
    return "failed" if counts.get(State.FAILED) else "succeeded"
