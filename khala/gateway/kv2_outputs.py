"""The four outputs of a task as KV2 gave them: whole in a download, and in JSON when asked for.

Runs on the event loop.
"""

from __future__ import annotations

from sanic.response import HTTPResponse

from khala.core.task import Task
from khala.gateway.downloads import as_attachment, attachment
from khala.gateway.exchange import Call
from khala.gateway.kv2_views import ResultText, result_texts
from khala.gateway.outputs import OutputName, parts_of


async def read_outputs(call: Call, task: Task, *, whole: bool) -> dict[str, bytes]:
    """The outputs by KV2's names: all that is kept, counted against the worker's allowance, or only
    what comes with the task."""
    outputs = {}
    for name, text in result_texts(task).items():
        beginning = text.head
        if whole and text.stored:
            call.hold(text.stored)
            parts = [part async for part in parts_of(call, _name(task, text), 0, text.stored)]
            beginning = b"".join(parts)
        outputs[name] = beginning + text.rest
    return outputs


async def send_output_file(
    call: Call, task: Task, file: str, filename: str, content_type: str
) -> HTTPResponse | None:
    """One output as a download; None when there is nothing in it, or when it was streamed already."""
    text = result_texts(task).get(file)
    if text is None or not (text.head or text.stored or text.rest):
        return None
    if not text.stored:
        return attachment(text.head + text.rest, filename, content_type)
    parts = parts_of(call, _name(task, text), 0, text.stored)
    first = await anext(parts)
    size = text.stored + len(text.rest)
    response = await call.request.respond(
        headers={**as_attachment(filename), "Content-Length": str(size)}, content_type=content_type
    )
    await response.send(first)
    async for data in parts:
        await response.send(data)
    if text.rest:
        await response.send(text.rest)
    return None


def _name(task: Task, text: ResultText) -> OutputName:
    return OutputName(task_id=task.id, attempt=task.control.attempt, phase=text.phase, stream=text.stream)
