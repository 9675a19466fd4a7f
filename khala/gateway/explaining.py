"""`/api/v1/tasks/{id}/explain`, and the reason of a task that nothing can take. Runs on the event loop."""

from __future__ import annotations

import time
from typing import Any

from sanic.response import HTTPResponse

from khala.core.commands import (
    ExecutorView,
    ExecutorViews,
    GetTasks,
    ListExecutors,
    QueuePlace,
    TaskViews,
)
from khala.core.scheduling.explaining import obstacles, why_held, why_stuck, why_waiting
from khala.core.scheduling.holding import timeout_of
from khala.core.task import LIMIT_FIELDS, TERMINAL, Command, PhaseResult, State, Task, demand_of
from khala.errors import Refusal, Unavailable
from khala.gateway.exchange import Call, json_response
from khala.gateway.queries import Query, task_id
from khala.gateway.routes import Route
from khala.gateway.views import task_view, time_view

FRESH_S = 1.0
LEADER_WITHIN_S = 2.0

Json = dict[str, Any]


class KnownExecutors:
    """The leader's executors as one worker heard of them last, for a second: who looks at many waiting
    tasks asks the leader once. None: it could not be asked."""

    def __init__(self) -> None:
        self._executors: tuple[ExecutorView, ...] | None = None
        self._heard_at = float("-inf")

    async def get(self, call: Call) -> tuple[ExecutorView, ...] | None:
        """What is known now."""
        if time.monotonic() - self._heard_at > FRESH_S:
            try:
                self._executors = (await _views(call)).executors
            except Unavailable:
                self._executors = None
            except Refusal:
                return None  # this caller may not ask; others may
            self._heard_at = time.monotonic()
        return self._executors


def explain_routes() -> tuple[Route, ...]:
    """The one route."""
    return (
        Route(
            method="GET",
            path="/api/v1/tasks/<id>/explain",
            handler=explain_task,
            summary="Why a task waits, or how it came to its end",
        ),
    )


async def add_reason(call: Call, task: Task, shown: Json) -> None:
    """Say in the view of a pending task that nothing can take it, if that is so.

    Only for a task that was read with its specification.
    """
    if task.control.state == State.PENDING:
        executors = await call.request.app.ctx.known_executors.get(call)
        stuck = "" if executors is None else why_stuck(demand_of(task), executors)
        shown["reason"] = stuck or shown["reason"]


async def explain_task(call: Call, id: str) -> HTTPResponse:
    """Pending: what keeps each executor from it, and its `place` in the queue. Finished: the cause, and what
    it used of its limits.

    `place`: how many tasks of its owner come `before` it (owners take turns), by a sample if not `exact`, and
    how many of everybody are `waiting`; null if it is not in the queue.
    """
    Query(call.request, ())
    command = GetTasks(task_ids=(task_id(id),), view="basic", caller=call.caller)
    found = (await call.ask(command, TaskViews)).tasks
    if not found:
        raise Refusal(f"there is no task {id}", code="not_found", field="id")
    task = found[0]
    control = task.control
    shown: Json = {name: task_view(task, "minimal")[name] for name in ("id", "state", "phase", "verdict")}
    shown |= {"reason": control.reason, "exit_reason": control.exit_reason, "executors": [], "usage": {}}
    if control.state == State.PENDING:
        shown |= await _waiting(call, task)
    if control.state in TERMINAL and task.result is not None:
        phases = (
            ("compile", task.spec.compile, task.result.compile),
            ("execute", task.spec.execute, task.result.execute),
        )
        shown["usage"] = {
            name: _usage(command, result) for name, command, result in phases if command and result
        }
    return json_response(shown)


async def _waiting(call: Call, task: Task) -> Json:
    """What keeps a pending task: other tasks, its back-off, the executors, those before it; and when it
    gives up."""
    control, demand, now = task.control, demand_of(task), time.time()
    views = await _views(call, place_of=task.id)
    executors = views.executors
    states = await _states(call, tuple(each.task_id for each in demand.depends_on))
    return {
        "reason": why_held(control, demand, states, now) or why_waiting(demand, executors, views.place),
        "place": _place(views.place),
        "earlier_reason": control.reason or None,
        "not_before": time_view(control.not_before) if control.not_before > now else None,
        "queue_timeout_at": time_view(timeout_of(control, demand)),
        "dependencies": [
            {
                "task_id": each.task_id,
                "condition": each.condition,
                "state": states.get(each.task_id, "purged"),
            }
            for each in demand.depends_on
        ],
        "executors": [
            {"id": each.executor, "obstacles": list(obstacles(demand, each))} for each in executors
        ],
    }


async def _states(call: Call, task_ids: tuple[str, ...]) -> dict[str, State]:
    """Those of these tasks that can be read."""
    if not task_ids:
        return {}
    command = GetTasks(task_ids=task_ids, view="minimal", caller=call.caller)
    found = await call.ask(command, TaskViews)
    return {task.id: task.control.state for task in found.tasks}


def _usage(command: Command, result: PhaseResult) -> Json:
    """What the phase used, beside what it had asked for (null: the executor's default held)."""
    used: Json = {
        "wall_time": result.wall_time_s,
        "cpu_time": result.cpu_user_s + result.cpu_system_s,
        "memory": result.max_memory_bytes or result.max_rss_bytes,
        "processes": result.max_processes or None,
        "output_size": result.stdout.size + result.stderr.size,
        "disk": result.disk_bytes,
    }
    return {
        name: {"used": value, "limit": getattr(command.limits, LIMIT_FIELDS[name])}
        for name, value in used.items()
    }


def _place(place: QueuePlace | None) -> Json | None:
    """How many tasks of its owner come before it; null for a task that is not in the queue."""
    if place is None or place.before is None:
        return None
    return {"before": place.before, "exact": place.exact, "waiting": place.waiting}


async def _views(call: Call, place_of: str = "") -> ExecutorViews:
    command = ListExecutors(caller=call.caller, place_of=place_of)
    return await call.ask(command, ExecutorViews, timeout_s=LEADER_WITHIN_S)
