"""`/api/v1/jobs/{id}/results.csv` and `.ndjson`: what came of a job's tasks, in their order.

Runs on the event loop. A page of tasks is read when the one before it has left for the client, so a slow
reader holds one page and nothing of the cluster's.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
from collections.abc import AsyncIterator, Callable, Sequence
from typing import cast

import orjson
from sanic.response import HTTPResponse

from khala.core.commands import SearchTasks
from khala.core.jobs import Job
from khala.core.sweeps import Rows, decode_rows
from khala.core.task import TERMINAL, Task
from khala.errors import KhalaError, Refusal
from khala.gateway.downloads import as_attachment
from khala.gateway.exchange import Call
from khala.gateway.jobs import read_job
from khala.gateway.queries import Query
from khala.gateway.reading import read_task
from khala.gateway.routes import Route
from khala.gateway.searching import search
from khala.gateway.uploads import file_chunks
from khala.gateway.views import Json, task_view

PAGE = 100
LOOK_EVERY_S = 0.5
WAIT_S = 20.0
_BEFORE = ("index", "id")
_AFTER = ("state", "exit_reason", "exit_code", "wall_time", "attempt", "executor", "stdout", "stdout_size")

Line = Callable[[Json], bytes]


def job_result_routes() -> tuple[Route, ...]:
    """The two forms of results."""
    one = "/api/v1/jobs/<id>"
    return (
        Route(
            method="GET", path=f"{one}/results.csv", handler=read_csv, query=("follow",),
            summary="Results of a job's finished tasks as CSV",
        ),
        Route(
            method="GET", path=f"{one}/results.ndjson", handler=read_ndjson, query=("follow",),
            summary="Results of a job's finished tasks, a JSON object a line",
        ),
    )  # fmt: skip


async def read_csv(call: Call, id: str) -> HTTPResponse | None:
    """A line for each finished task, in the order of the array, under a header line.

    With `follow=1` the answer goes on until the job is finished, each task when it is its turn.
    """
    job = await read_job(call, id)
    columns = (*_BEFORE, *job.names, *_AFTER)

    def line(result: Json) -> bytes:
        return _csv_line([result[name] for name in _BEFORE] + _cells(job, result))

    return await _send(call, job, "csv", "text/csv; charset=utf-8", line, _csv_line(columns))


async def read_ndjson(call: Call, id: str) -> HTTPResponse | None:
    """An object for each finished task, in the order of the array; its `values` are by name.

    With `follow=1` the answer goes on until the job is finished, each task when it is its turn.
    """
    job = await read_job(call, id)
    return await _send(
        call, job, "ndjson", "application/x-ndjson", lambda result: orjson.dumps(result) + b"\n", b""
    )


async def _send(
    call: Call, job: Job, ending: str, content_type: str, line: Line, head: bytes
) -> HTTPResponse | None:
    follow = Query(call.request, ("follow",)).choice("follow", ("0", "1")) == "1"
    headers = {**as_attachment(f"{job.id}.{ending}"), "X-Accel-Buffering": "no"}
    if call.request.method == "HEAD":
        return HTTPResponse(b"", headers=headers, content_type=content_type)
    rows = await _read_rows(call, job)
    response = await call.request.respond(headers=headers, content_type=content_type)
    try:
        await response.send(head)
        async for tasks in _finished(call, job, follow=follow):
            await response.send(b"".join(line(_result(job, rows, task)) for task in tasks))
        await response.eof()
    except KhalaError:
        # The answer has no length: only a connection that breaks tells the client that this is not all.
        cast(asyncio.Transport, call.request.transport).abort()
        raise
    return None


async def _finished(call: Call, job: Job, *, follow: bool) -> AsyncIterator[Sequence[Task]]:
    """The job's finished tasks in their order, some at a time; all of them, once they are, to a follower."""
    token, seen = "", -1
    while True:
        command = SearchTasks(job_id=job.id, oldest_first=True, limit=PAGE, page_token=token, view="full")
        page = await search(call, command)
        fresh = [task for task in page.tasks if task.job_index > seen]
        ready = [task for task in fresh if task.control.state in TERMINAL]
        waiting = next((task for task in fresh if task.control.state not in TERMINAL), None)
        if follow and waiting is not None:
            ready = [task for task in ready if task.job_index < waiting.job_index]
        if ready:
            seen = ready[-1].job_index
            yield ready
        if follow and waiting is not None:
            with contextlib.suppress(Refusal):  # it was purged meanwhile
                await read_task(call, waiting.id, "minimal", WAIT_S)
        elif page.next_page_token:
            token = page.next_page_token
        elif not follow or job.created >= job.total:
            return
        else:
            await asyncio.sleep(LOOK_EVERY_S)
            job = await read_job(call, job.id)


async def _read_rows(call: Call, job: Job) -> Rows:
    content = b"".join([chunk.data async for chunk in file_chunks(call, job.rows_file)])
    call.hold(len(content))
    return await asyncio.to_thread(decode_rows, content)


def _result(job: Job, rows: Rows, task: Task) -> Json:
    shown = task_view(task, "full")
    phase = (shown["result"] or {}).get("execute") or (shown["result"] or {}).get("compile") or {}
    stdout = phase.get("stdout", {})
    return {
        "index": rows.index(task.job_index),
        "id": task.id,
        "values": dict(zip(job.names, rows.values[task.job_index], strict=True)),
        **{name: shown[name] for name in ("state", "exit_reason", "attempt", "executor")},
        **{name: phase.get(name) for name in ("exit_code", "wall_time")},
        "stdout": stdout.get("head", ""),
        "stdout_size": stdout.get("size", 0),
    }


def _cells(job: Job, result: Json) -> list[object]:
    return [*result["values"].values(), *(result[name] for name in _AFTER)]


def _csv_line(cells: Sequence[object]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()
