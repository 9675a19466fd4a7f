"""A task's story, attempt by attempt, as its events tell it. Pure."""

from __future__ import annotations

from khala.core.task import TERMINAL, State, Task, TaskEvent
from khala.gateway.views import Json, time_view


def attempts_view(task: Task) -> list[Json]:
    """Every attempt in order; `outcome` is None while it lasts, else how it ended.

    The last one's times and result are the task's; of the others the events are all that is kept.
    """
    attempts: dict[int, Json] = {}
    for event in task.events:
        if event.kind == "assigned":
            attempts[event.attempt] = {
                "attempt": event.attempt,
                "executor": event.executor,
                "assigned_at": time_view(event.at),
                "started_at": None,
                "ended_at": None,
                "outcome": None,
                "detail": "",
            }
        elif event.attempt in attempts:
            _go_on(attempts[event.attempt], event)
    control = task.control
    last = attempts.get(control.attempt)
    if last is not None and control.started_at is not None:
        last["started_at"] = time_view(control.started_at)
        if control.finished_at is not None:
            last["ended_at"] = time_view(control.finished_at)
    return list(attempts.values())


def _go_on(attempt: Json, event: TaskEvent) -> None:
    if event.kind == "started":
        attempt["started_at"] = time_view(event.at)
    elif event.to_state in TERMINAL or (
        event.to_state == State.PENDING and event.from_state != event.to_state
    ):
        attempt["ended_at"] = time_view(event.at)
        attempt["outcome"] = event.to_state if event.kind == "ended" else event.kind
        attempt["detail"] = event.detail
