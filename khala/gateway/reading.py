"""Reading one task, at once or when it is finished, and telling that it has not changed."""

from __future__ import annotations

import hashlib
import time

from sanic.response import HTTPResponse

from khala.core.commands import GetTasks, TaskViews
from khala.core.task import TERMINAL, Task
from khala.errors import Refusal
from khala.gateway.exchange import Call, json_response
from khala.gateway.views import Json, View

WAIT_SLICE_S = 20.0


async def read_task(call: Call, id: str, view: View, wait_s: float = 0.0) -> Task:
    """The task, once it is finished or after `wait_s` seconds; in slices, as the cluster may change.

    Refusal `not_found` also for a task that the caller may not see.
    """
    deadline = time.monotonic() + wait_s
    while True:
        slice_s = min(max(deadline - time.monotonic(), 0.0), WAIT_SLICE_S)
        command = GetTasks(task_ids=(id,), view=view, wait_s=slice_s, caller=call.caller)
        found = (await call.ask(command, TaskViews, timeout_s=slice_s + 10.0)).tasks
        if not found:
            raise no_task(id)
        if found[0].control.state in TERMINAL or time.monotonic() >= deadline:
            return found[0]


def no_task(id: str) -> Refusal:
    """The refusal for a task that is not there, for this caller."""
    return Refusal(f"there is no task {id}", code="not_found", field="id")


def unless_known(call: Call, shown: Json) -> HTTPResponse:
    """`shown`, or 304 when the caller has exactly that."""
    response = json_response(shown)
    tag = f'"{hashlib.sha256(response.body or b"").hexdigest()[:32]}"'
    if is_known(call, tag):
        return HTTPResponse(status=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return response


def is_known(call: Call, tag: str) -> bool:
    """Has the caller what goes by this tag (RFC 9110, section 13.1.2)?"""
    told = str(call.request.headers.get("if-none-match", ""))
    known = {part.strip().removeprefix("W/") for part in told.split(",")}
    return tag in known or "*" in known
