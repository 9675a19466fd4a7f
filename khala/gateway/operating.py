"""What is done by hand: change, purge and retry a task, read its story, drain an executor.

Runs on the event loop.
"""

from __future__ import annotations

import hashlib

from sanic.response import HTTPResponse

from khala.core.commands import NewTask, TaskViews
from khala.core.operations import AmendTask, DrainExecutor, DrainOrdered, PurgeTask
from khala.core.task import TERMINAL, Task
from khala.errors import Refusal
from khala.gateway.exchange import MAX_EMPTY_BODY_BYTES, Call, json_response
from khala.gateway.queries import Query, task_id
from khala.gateway.reading import no_task, read_task
from khala.gateway.routes import Route
from khala.gateway.schemas import AmendBody, decode
from khala.gateway.stories import attempts_view
from khala.gateway.submitting import ids_for, submit_one
from khala.gateway.views import task_view


def operating_routes() -> tuple[Route, ...]:
    """The routes of changes by hand."""
    one, executor = "/api/v1/tasks/<id>", "/api/v1/executors/<id>"
    return (
        Route(
            method="PATCH", path=one, handler=amend_task, summary="Change labels or priority", body=AmendBody
        ),
        Route(method="DELETE", path=one, handler=purge_task, summary="Remove a finished task"),
        Route(
            method="POST", path=f"{one}/retry", handler=retry_task,
            summary="A new task with the same specification",
        ),
        Route(method="GET", path=f"{one}/attempts", handler=list_attempts, summary="Every attempt"),
        Route(
            method="POST", path=f"{executor}/drain", handler=drain_executor,
            summary="Let an executor take nothing more",
        ),
        Route(
            method="POST", path=f"{executor}/undrain", handler=undrain_executor,
            summary="Let an executor take tasks again",
        ),
    )  # fmt: skip


async def amend_task(call: Call, id: str) -> HTTPResponse:
    """The task as it now is; 409 when it is finished."""
    Query(call.request, ())
    body = decode(await call.json_body(), AmendBody)
    amend = AmendTask(task_id=task_id(id), labels=body.labels, priority=body.priority, caller=call.caller)
    task = _found(id, await call.ask(amend, TaskViews))
    if task.control.state in TERMINAL:
        raise Refusal(f"the task has finished already: {task.control.state}", code="finished")
    return json_response(task_view(task, "basic"))


async def purge_task(call: Call, id: str) -> HTTPResponse:
    """The task as it was; 409 unless it is finished. Its id is never used again."""
    Query(call.request, ())
    task = _found(id, await call.ask(PurgeTask(task_id=task_id(id), caller=call.caller), TaskViews))
    if task.control.state not in TERMINAL:
        raise Refusal(f"the task is {task.control.state}: cancel it first", code="conflict", field="id")
    return json_response(task_view(task, "minimal"))


async def retry_task(call: Call, id: str) -> HTTPResponse:
    """201 with the new task's id; 409 unless the old one, which never changes, is finished (P7)."""
    Query(call.request, ())
    ids = ids_for(call)
    await call.body(MAX_EMPTY_BODY_BYTES)
    old = await read_task(call, task_id(id), "full")
    if old.control.state not in TERMINAL:
        raise Refusal(f"the task is {old.control.state}, not finished", code="conflict", field="id")
    digest = hashlib.sha256(f"retry {old.id}".encode()).hexdigest()
    new = NewTask(id=ids.of(0), spec=old.spec, request_digest=digest, retried_from=old.id)
    accepted = await submit_one(call, new)
    return json_response(
        {"id": new.id, "retried_from": old.id},
        201 if accepted.created else 200,
        Location=f"/api/v1/tasks/{new.id}",
    )


async def list_attempts(call: Call, id: str) -> HTTPResponse:
    """Every attempt: where, when, and what came of it."""
    Query(call.request, ())
    task = await read_task(call, task_id(id), "basic")
    return json_response({"attempts": attempts_view(task)})


async def drain_executor(call: Call, id: str) -> HTTPResponse:
    """202: what runs there goes on, what waits there goes elsewhere."""
    return await _drain(call, id, draining=True)


async def undrain_executor(call: Call, id: str) -> HTTPResponse:
    """202."""
    return await _drain(call, id, draining=False)


async def _drain(call: Call, id: str, *, draining: bool) -> HTTPResponse:
    Query(call.request, ())
    await call.body(MAX_EMPTY_BODY_BYTES)
    order = DrainExecutor(executor=id, draining=draining, caller=call.caller)
    ordered = await call.ask(order, DrainOrdered)
    return json_response({"id": ordered.executor, "draining": ordered.draining}, 202)


def _found(id: str, views: TaskViews) -> Task:
    if not views.tasks:
        raise no_task(id)
    return views.tasks[0]
