"""`/api/v1/tasks`: create, list, read, cancel (api.md, section 1). Runs on the event loop."""

from __future__ import annotations

from typing import cast

from sanic.response import HTTPResponse

from khala.core.commands import CancelTasks, NewTask, SearchTasks, TaskCancels
from khala.core.task import ExitReason, State
from khala.core.validation import MAX_USER
from khala.errors import OutcomeUnknown, Refusal, Unavailable
from khala.gateway.exchange import MAX_EMPTY_BODY_BYTES, Call, json_response
from khala.gateway.explaining import add_reason
from khala.gateway.queries import Query, task_id
from khala.gateway.reading import no_task, read_task, unless_known
from khala.gateway.routes import Route
from khala.gateway.schemas import TaskBody, decode, request_digest
from khala.gateway.searching import search
from khala.gateway.specs import spec_of
from khala.gateway.submitting import ids_for, submit_one
from khala.gateway.uploads import move_large
from khala.gateway.views import View, task_view

MAX_WAIT_S = 300.0
MAX_PAGE = 1000
MAX_FULL_PAGE = 100

_VIEWS = ("basic", "minimal", "full")
_LIST_QUERY = (
    "state", "user", "name_prefix", "label", "job_id", "executor", "exit_reason", "created_after",
    "created_before", "page_size", "page_token", "order_by", "view",
)  # fmt: skip


def task_routes() -> tuple[Route, ...]:
    """The routes of single tasks and their list."""
    one = "/api/v1/tasks/<id>"
    return (
        Route(
            method="POST", path="/api/v1/tasks", handler=create_task, summary="Create a task",
            body=TaskBody, query=("wait",),
        ),
        Route(
            method="GET", path="/api/v1/tasks", handler=list_tasks, summary="List tasks", query=_LIST_QUERY
        ),
        Route(method="GET", path=one, handler=get_task, summary="Read a task", query=("view", "wait")),
        Route(method="POST", path=f"{one}/cancel", handler=cancel_task, summary="Stop a task"),
    )  # fmt: skip


async def create_task(call: Call) -> HTTPResponse:
    """201 with the id; with `?wait=` the task as it is when finished or when the time is up."""
    wait_s = Query(call.request, ("wait",)).seconds("wait", MAX_WAIT_S)
    ids = ids_for(call)
    body = decode(await call.json_body(), TaskBody)
    spec = await move_large(call, spec_of(body))
    task = NewTask(id=ids.of(0), spec=spec, request_digest=request_digest(body))
    try:
        accepted = await submit_one(call, task)
    except OutcomeUnknown as error:
        raise OutcomeUnknown(
            f"task {task.id} may or may not have been stored: read it, or send the same request with "
            f"the same Idempotency-Key again ({error})",
            retry_after_s=error.retry_after_s,
        ) from error
    view = await _finished_view(call, task.id, wait_s) if wait_s is not None else None
    return json_response(
        view or {"id": task.id},
        201 if accepted.created else 200,
        Location=f"/api/v1/tasks/{task.id}",
    )


async def list_tasks(call: Call) -> HTTPResponse:
    """One page of tasks, the newest first unless `order_by=created_at`."""
    query = Query(call.request, _LIST_QUERY)
    command = _search(query)
    try:
        page = await search(call, command)
    except Refusal as error:
        if error.code == "invalid":
            raise Refusal(error.detail, code="malformed", field=error.field) from error
        raise
    view = cast(View, command.view)
    return json_response(
        {
            "tasks": [task_view(task, view) for task in page.tasks],
            "next_page_token": page.next_page_token or None,
        }
    )


async def get_task(call: Call, id: str) -> HTTPResponse:
    """One task, whole unless `view` says less; `?wait=` waits until it is finished."""
    query = Query(call.request, ("view", "wait"))
    view = cast(View, query.choice("view", ("full", "basic", "minimal")))
    wait_s = query.seconds("wait", MAX_WAIT_S) or 0.0
    task = await read_task(call, task_id(id), view, wait_s)
    shown = task_view(task, view)
    if view != "minimal":
        await add_reason(call, task, shown)
    return unless_known(call, shown)


async def cancel_task(call: Call, id: str) -> HTTPResponse:
    """202 when the cancel is recorded, 200 when it was cancelled before, 409 when it ended otherwise."""
    await call.body(MAX_EMPTY_BODY_BYTES)
    reply = await call.ask(CancelTasks(task_ids=(task_id(id),), caller=call.caller), TaskCancels)
    (answer,) = reply.results
    if answer.answer == "not_found":
        raise no_task(id)
    if answer.answer == "finished" and answer.state != State.CANCELLED:
        raise Refusal(f"the task has finished already: {answer.state}", code="finished")
    done = answer.answer == "finished"
    return json_response({"id": id, "state": answer.state, "cancel_requested": True}, 200 if done else 202)


def _search(query: Query) -> SearchTasks:
    view = query.choice("view", _VIEWS)
    most = MAX_FULL_PAGE if view == "full" else MAX_PAGE
    return SearchTasks(
        user=query.integer("user", 0, MAX_USER),
        states=tuple(_state(text) for text in query.texts("state")),
        name_prefix=query.text("name_prefix"),
        executor=query.text("executor"),
        exit_reason=query.choice("exit_reason", ("", *ExitReason)),
        label=query.text("label"),
        created_after=query.time("created_after"),
        created_before=query.time("created_before"),
        oldest_first=query.choice("order_by", ("-created_at", "created_at")) == "created_at",
        limit=query.integer("page_size", 1, most) or 100,
        page_token=query.text("page_token"),
        view=view,
        job_id=_job_id(query.text("job_id")),
    )


def _job_id(text: str) -> str:
    return task_id(text, "job_id") if text else ""


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        raise Refusal(f"state: expected one of {', '.join(State)}", code="malformed", field="state") from None


async def _finished_view(call: Call, id: str, wait_s: float) -> dict[str, object] | None:
    """The view after waiting, or None when it cannot be read: the task is stored all the same."""
    try:
        return task_view(await read_task(call, id, "full", wait_s), "full")
    except Unavailable:
        return None
