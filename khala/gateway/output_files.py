"""`/api/v1/tasks/{id}/outputs`: the files that a task's globs named, singly and as a zip.

Runs on the event loop; what a zip costs in time is spent in threads.
"""

from __future__ import annotations

import asyncio
import io
import stat
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import IO, Any, cast
from urllib.parse import unquote

from sanic.response import HTTPResponse

from khala.core.commands import GetTasks, TaskViews
from khala.core.task import OutputFile, Task
from khala.errors import KhalaError, Refusal
from khala.gateway.downloads import as_attachment
from khala.gateway.exchange import Call, json_response
from khala.gateway.file_downloads import bytes_of, send_file
from khala.gateway.queries import Query, task_id
from khala.gateway.routes import Route
from khala.gateway.views import output_file_view

ZIP_LEVEL = 1
OLDEST_IN_ZIP = (1980, 1, 1, 0, 0, 0)


def output_file_routes() -> tuple[Route, ...]:
    """The list, the files, all of them."""
    outputs = "/api/v1/tasks/<id>/outputs"
    return (
        Route(method="GET", path=outputs, handler=list_outputs, summary="List a task's output files"),
        Route(
            method="GET", path=f"{outputs}/<path:path>", handler=read_output, summary="Read an output file"
        ),
        Route(
            method="GET", path=f"{outputs}.zip", handler=read_all, summary="Read all output files as a zip"
        ),
    )


async def list_outputs(call: Call, id: str) -> HTTPResponse:
    """Path, size, digest and mode of each; none before the task has ended."""
    Query(call.request, ())
    task = await _read(call, id)
    return json_response(
        {"state": task.control.state, "outputs": [output_file_view(f) for f in _files(task)]}
    )


async def read_output(call: Call, id: str, path: str) -> HTTPResponse | None:
    """The bytes of one, with Range and its digest as ETag."""
    Query(call.request, ())
    # Sanic decodes no part that may hold slashes. What is not UTF-8 is no path of ours.
    wanted = unquote(path)
    file = next((file for file in _files(await _read(call, id)) if file.path == wanted), None)
    if file is None:
        raise Refusal("the task has no such output file", code="not_found", field="path")
    return await send_file(call, file.sha256, wanted.rpartition("/")[2])


async def read_all(call: Call, id: str) -> HTTPResponse | None:
    """A zip, made while it is sent."""
    Query(call.request, ())
    task = await _read(call, id)
    if not _files(task):
        raise Refusal("the task has no output files", code="not_found")
    headers = as_attachment(f"{task.id}_outputs.zip")
    if call.request.method == "HEAD":
        return HTTPResponse(b"", headers=headers, content_type="application/zip")
    response = await call.request.respond(headers=headers, content_type="application/zip")
    try:
        async for data in _zipped(call, task):
            await response.send(data)
    except KhalaError:
        # The answer has no length: only a connection that breaks tells the client that this is not all.
        cast(asyncio.Transport, call.request.transport).abort()
        raise
    return None


async def _zipped(call: Call, task: Task) -> AsyncIterator[bytes]:
    made = _Made()
    with zipfile.ZipFile(
        cast(IO[bytes], made), "w", zipfile.ZIP_DEFLATED, compresslevel=ZIP_LEVEL
    ) as archive:
        for file in _files(task):
            with archive.open(_entry(file, task.control.finished_at), "w") as target:
                async for data in bytes_of(call, file.sha256, 0, file.size):
                    await asyncio.to_thread(target.write, data)
                    yield made.take()
    yield made.take()


class _Made(io.RawIOBase):
    """Where zipfile writes to: it cannot seek, so sizes and checksums come after the contents."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        """Keep it until it is taken."""
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _entry(file: OutputFile, finished_at: float | None) -> zipfile.ZipInfo:
    at = datetime.fromtimestamp(finished_at or 0.0, UTC).timetuple()[:6]
    entry = zipfile.ZipInfo(file.path, max(at, OLDEST_IN_ZIP))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = (stat.S_IFREG | file.mode) << 16
    entry.file_size = file.size
    return entry


def _files(task: Task) -> tuple[OutputFile, ...]:
    return () if task.result is None else task.result.outputs


async def _read(call: Call, id: str) -> Task:
    command = GetTasks(task_ids=(task_id(id),), view="basic", caller=call.caller)
    found = (await call.ask(command, TaskViews)).tasks
    if not found:
        raise Refusal(f"there is no task {id}", code="not_found", field="id")
    return found[0]
