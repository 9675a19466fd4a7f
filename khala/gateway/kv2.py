"""The API of the prototype KV2, so that its scripts keep working (api.md, section 2).

Runs on the event loop. Answers are HTTP 200 with a numeric `result`; only a missing or wrong token
(401, 403) and an empty download (404) are told by status.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from functools import partial
from typing import BinaryIO, cast

from sanic.exceptions import SanicException
from sanic.request import Request
from sanic.response import HTTPResponse, text

from khala.core.commands import (
    CancelTasks,
    ExecutorViews,
    GetTasks,
    JudicatorViews,
    ListExecutors,
    ListJudicators,
    NewTask,
    TaskCancels,
    TaskViews,
)
from khala.core.task import Task
from khala.errors import Refusal, Unavailable
from khala.gateway.downloads import attachment, send_spooled, send_stored
from khala.gateway.exchange import Call, json_response
from khala.gateway.forms import Form
from khala.gateway.kv2_forms import spec_from_form
from khala.gateway.kv2_list import list_tasks
from khala.gateway.kv2_outputs import read_outputs, send_output_file
from khala.gateway.kv2_views import (
    MAX_TEXT_CHARS,
    OUTPUT_NAMES,
    Bundle,
    command_text,
    compile_source,
    execute_data,
    executor_view,
    full_view,
    judicator_view,
)
from khala.gateway.problems import log_unexpected, problem_response
from khala.gateway.queries import task_id
from khala.gateway.routes import Handler, Route
from khala.gateway.spools import IN_MEMORY_BYTES
from khala.gateway.submitting import fresh_id, submit_one
from khala.gateway.uploads import file_chunks, move_large, read_chunk
from khala.gateway.zips import write_zip

OK, ERROR, NOT_EXIST, TOO_LARGE, INVALID_INPUT = range(5)
_RESULTS = {"not_found": NOT_EXIST, "too_large": TOO_LARGE, "timeout": ERROR, "too_many_requests": ERROR}
_TEXT_FILES = (
    "compile_command", "execute_input", "execute_command", "execute_standard", *OUTPUT_NAMES
)  # fmt: skip
_TEXT = "text/plain; charset=utf-8"


def kv2_routes() -> tuple[Route, ...]:
    """The routes of KV2."""

    def route(method: str, path: str, handler: Handler, summary: str, empty: dict[str, object]) -> Route:
        return Route(
            method=method,
            path=path,
            handler=handler,
            summary=f"KV2: {summary}",
            loose=True,
            on_error=partial(answer_error, empty),
        )

    return (
        route("GET", "/api/test", test, "is the gateway working?", {}),
        route("POST", "/api/task", add, "create a task", {"id": None}),
        route("DELETE", "/api/task", cancel, "cancel a task", {}),
        route("GET", "/api/task", get, "read a task or one of its files", {"task": None}),
        route("GET", "/api/task/list", list_tasks, "list tasks", {"pages": 0, "tasks": []}),
        route("GET", "/api/executors", executors, "list executors", {"executors": []}),
        route("GET", "/api/judicators", judicators, "list judicators", {"judicators": []}),
    )


def answer_error(empty: dict[str, object], request: Request, error: Exception) -> HTTPResponse:
    """The answer of KV2 to a request that ended with `error`."""
    if isinstance(error, Refusal):
        if error.code in ("unauthorized", "forbidden"):
            return problem_response(request, error)
        result = _RESULTS.get(error.code, INVALID_INPUT)
    elif isinstance(error, SanicException) and error.status_code < 500:
        result = TOO_LARGE if error.status_code == 413 else INVALID_INPUT
    else:
        result = ERROR
        if not isinstance(error, Unavailable):
            log_unexpected(request, error)
    return json_response({"result": result, **empty})


async def test(call: Call) -> HTTPResponse:
    """The gateway works."""
    return text("Khala gateway server is working.")


async def add(call: Call) -> HTTPResponse:
    """Create a task from a form."""
    with Form() as form:
        await form.read(call)
        spec = await move_large(call, await spec_from_form(call, form))
    id = fresh_id()
    await submit_one(call, NewTask(id=id, spec=spec, request_digest=secrets.token_hex(32)))
    return json_response({"result": OK, "id": id})


async def cancel(call: Call) -> HTTPResponse:
    """Stop a task that is not finished."""
    command = CancelTasks(task_ids=(_id(call),), caller=call.caller)
    (answer,) = (await call.ask(command, TaskCancels)).results
    return json_response({"result": OK if answer.answer == "requested" else NOT_EXIST})


async def get(call: Call) -> HTTPResponse | None:
    """A task, or with `file` one of its files as a download."""
    id, file = _id(call), str(call.request.args.get("file") or "")
    if file and file not in _TEXT_FILES and file not in ("compile_source", "execute_data"):
        raise Refusal("file: there is no file of this name", field="file")
    command = GetTasks(task_ids=(id,), view="full", caller=call.caller)
    found = (await call.ask(command, TaskViews)).tasks
    if file:
        response = await _download(call, found[0], file) if found else None
        if response is None and not call.request.responded:
            return problem_response(call.request, Refusal("there is no such file", code="not_found"))
        return response
    if not found:
        return json_response({"result": NOT_EXIST, "task": None})
    cut = not call.request.args.get("no_truncate")
    stdin = await _stdin(call, found[0], whole=not cut)
    outputs = await read_outputs(call, found[0], whole=not cut)
    return json_response({"result": OK, "task": full_view(found[0], stdin, outputs, cut=cut)})


async def executors(call: Call) -> HTTPResponse:
    """The executors at work."""
    reply = await call.ask(ListExecutors(caller=call.caller), ExecutorViews)
    return json_response({"result": OK, "executors": [executor_view(view) for view in reply.executors]})


async def judicators(call: Call) -> HTTPResponse:
    """The judicators at work."""
    reply = await call.ask(ListJudicators(caller=call.caller), JudicatorViews)
    return json_response({"result": OK, "judicators": [judicator_view(view) for view in reply.judicators]})


def _id(call: Call) -> str:
    return task_id(str(call.request.args.get("id") or ""))


async def _stdin(call: Call, task: Task, *, whole: bool) -> str:
    command = task.spec.execute
    if command is None or not command.stdin_file:
        return (command.stdin if command else b"").decode(errors="replace")
    if not whole:
        # The longest character of UTF-8 has four bytes.
        chunk = await read_chunk(call, command.stdin_file, 0, 4 * (MAX_TEXT_CHARS + 1))
        return chunk.data.decode(errors="replace")
    return (await _whole(call, command.stdin_file)).decode(errors="replace")


async def _whole(call: Call, sha256: str) -> bytes:
    """A stored file in memory, counted against the worker's allowance."""
    parts = []
    async for chunk in file_chunks(call, sha256):
        call.hold(len(chunk.data))
        parts.append(chunk.data)
    return b"".join(parts)


async def _download(call: Call, task: Task, file: str) -> HTTPResponse | None:
    """The answer, or None when there is nothing in it (or when it was streamed already)."""
    spec = task.spec
    if file == "compile_source":
        return await _download_zip(call, compile_source(spec), f"{task.id}_{file}.zip")
    if file == "execute_data":
        return await _download_zip(call, execute_data(spec), f"{task.id}_{file}.zip")
    name = f"{task.id}_{file}.txt"
    if file == "execute_input" and spec.execute is not None and spec.execute.stdin_file:
        return await send_stored(call, spec.execute.stdin_file, name, _TEXT)
    if file in OUTPUT_NAMES:
        return await send_output_file(call, task, file, name, _TEXT)
    content = {
        "compile_command": command_text(spec.compile).encode(),
        "execute_command": command_text(spec.execute).encode(),
        "execute_input": spec.execute.stdin if spec.execute is not None else b"",
        "execute_standard": spec.expected_output or b"",
    }[file]
    return attachment(content, name, _TEXT) if content else None


async def _download_zip(call: Call, bundle: Bundle, name: str) -> HTTPResponse | None:
    if bundle.archives:
        return await send_stored(call, bundle.archives[0].file_id, name, "application/zip")
    if not bundle.files:
        return None
    spooled = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=call.settings.spool_dir)  # noqa: SIM115
    with spooled:
        file = cast(BinaryIO, spooled)
        entries = []
        for path, entry in bundle.files:
            content = await _whole(call, entry.file_id) if entry.file_id else entry.content
            entries.append((path, content))
        await asyncio.to_thread(write_zip, file, entries)
        await send_spooled(call, file, name, "application/zip")
    return None
