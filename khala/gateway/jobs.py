"""`/api/v1/jobs`: many tasks of one template. Runs on the event loop; large arrays are made in threads."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import msgspec
from sanic.response import HTTPResponse

from khala.core.jobs import (
    CancelJob,
    CreateJob,
    GetJobs,
    Job,
    JobAccepted,
    JobPage,
    JobViews,
    NewJob,
    RetryJob,
    SearchJobs,
)
from khala.core.sweeps import check_new_job, encode_rows, has_placeholder
from khala.core.task import State, TaskSpec
from khala.errors import Refusal
from khala.gateway.exchange import MAX_EMPTY_BODY_BYTES, Call, json_response
from khala.gateway.job_bodies import JobBody, rows_of
from khala.gateway.job_views import job_view
from khala.gateway.queries import Query, task_id
from khala.gateway.routes import Route
from khala.gateway.schemas import decode
from khala.gateway.specs import spec_of
from khala.gateway.submitting import SUBMIT_TIMEOUT_S, ids_for
from khala.gateway.uploads import MAX_CONTENT_INLINE_BYTES, move_large, put_bytes

MAX_PAGE = 100
ACCEPT_TIMEOUT_S = 3 * SUBMIT_TIMEOUT_S
_RETRIED = (State.FAILED, State.CANCELLED)


def job_routes() -> tuple[Route, ...]:
    """The routes of jobs; their results are `khala.gateway.job_results`'."""
    jobs, one = "/api/v1/jobs", "/api/v1/jobs/<id>"
    return (
        Route(
            method="POST", path=jobs, handler=create_job, body=JobBody,
            summary="Create up to 100,000 tasks of one template",
        ),
        Route(
            method="GET", path=jobs, handler=list_jobs, summary="List jobs",
            query=("page_size", "page_token"),
        ),
        Route(method="GET", path=one, handler=get_job, summary="Read a job"),
        Route(method="POST", path=f"{one}/cancel", handler=cancel_job, summary="Stop all tasks of a job"),
        Route(
            method="POST", path=f"{one}/retry", handler=retry_job, query=("state",),
            summary="A new job of those tasks that failed",
        ),
    )  # fmt: skip


async def create_job(call: Call) -> HTTPResponse:
    """201 with the job once it is stored; its tasks are made from then on, the first 1,000 at once."""
    Query(call.request, ())
    job_id = ids_for(call).of(0)
    body = decode(await call.json_body(), JobBody)
    names, rows = await asyncio.to_thread(rows_of, body.array)
    template = spec_of(body.task)
    _refuse_large(template, names)
    new = NewJob(
        id=job_id,
        template=await move_large(call, template),
        rows_file="",
        total=len(rows.values),
        name=body.name,
        names=names,
        max_parallel=0 if body.max_parallel is None else body.max_parallel or -1,
        max_failures=body.max_failures,
        request_digest=await asyncio.to_thread(_digest, body),
    )
    check_new_job(new)
    content = await asyncio.to_thread(encode_rows, rows)
    command = CreateJob(job=replace(new, rows_file=await put_bytes(call, content)), caller=call.caller)
    return _accepted(await call.ask(command, JobAccepted, timeout_s=ACCEPT_TIMEOUT_S))


async def list_jobs(call: Call) -> HTTPResponse:
    """One page of jobs, the newest first, with their counts."""
    query = Query(call.request, ("page_size", "page_token"))
    command = SearchJobs(
        limit=query.integer("page_size", 1, MAX_PAGE) or 50,
        page_token=query.text("page_token"),
        caller=call.caller,
    )
    try:
        page = await call.ask(command, JobPage)
    except Refusal as error:
        raise Refusal(
            error.detail, code="malformed" if error.code == "invalid" else error.code, field=error.field
        ) from error
    return json_response(
        {"jobs": [job_view(job) for job in page.jobs], "next_page_token": page.next_page_token or None}
    )


async def get_job(call: Call, id: str) -> HTTPResponse:
    """One job, with the number of its tasks in each state."""
    Query(call.request, ())
    return json_response(job_view(await read_job(call, id)))


async def cancel_job(call: Call, id: str) -> HTTPResponse:
    """202; 200 when it was cancelled before, 409 when it ended otherwise."""
    Query(call.request, ())
    await call.body(MAX_EMPTY_BODY_BYTES)
    found = await call.ask(CancelJob(job_id=task_id(id), caller=call.caller), JobViews)
    job = _one(id, found)
    if job.finished_at is not None and not job.cancel_requested:
        raise Refusal("the job has finished already", code="finished")
    return json_response(job_view(replace(job, template=None)), 200 if job.finished_at else 202)


async def retry_job(call: Call, id: str) -> HTTPResponse:
    """201 with a new job of those tasks that failed (or `?state=failed,cancelled`); 409 unless finished."""
    query = Query(call.request, ("state",))
    states = tuple(dict.fromkeys(query.texts("state"))) or (State.FAILED,)
    if set(states) - set(_RETRIED):
        raise Refusal(f"state: expected {' or '.join(_RETRIED)}", code="malformed", field="state")
    ids = ids_for(call)
    await call.body(MAX_EMPTY_BODY_BYTES)
    digest = hashlib.sha256(f"retry {id} {' '.join(sorted(states))}".encode()).hexdigest()
    command = RetryJob(
        job_id=task_id(id),
        id=ids.of(0),
        states=tuple(map(State, states)),
        request_digest=digest,
        caller=call.caller,
    )
    return _accepted(await call.ask(command, JobAccepted, timeout_s=ACCEPT_TIMEOUT_S))


async def read_job(call: Call, id: str) -> Job:
    """The job; Refusal `not_found` also for one that the caller may not see."""
    return _one(id, await call.ask(GetJobs(job_ids=(task_id(id),), caller=call.caller), JobViews))


def _one(id: str, found: JobViews) -> Job:
    if not found.jobs:
        raise Refusal(f"there is no job {id}", code="not_found", field="id")
    return found.jobs[0]


def _accepted(accepted: JobAccepted) -> HTTPResponse:
    return json_response(
        job_view(accepted.job),
        201 if accepted.created else 200,
        Location=f"/api/v1/jobs/{accepted.job.id}",
    )


def _refuse_large(template: TaskSpec, names: tuple[str, ...]) -> None:
    """Content that is too large for a task is stored once, so it can hold no values."""
    stdin = b"" if template.execute is None else template.execute.stdin
    parts = [("execute.stdin", stdin), *((f"inputs {each.path}", each.content) for each in template.inputs)]
    for what, content in parts:
        if len(content) > MAX_CONTENT_INLINE_BYTES and has_placeholder(content, names):
            raise Refusal(
                f"task: {what}: only content of up to {MAX_CONTENT_INLINE_BYTES} bytes can hold placeholders",
                code="too_large",
                field="task",
            )


def _digest(body: JobBody) -> str:
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()
