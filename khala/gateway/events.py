"""`/api/v1/tasks/{id}/events`: a task's story, at once or as it goes on. Runs on the event loop.

With `follow=1`, or for a browser's EventSource, it is server-sent events whose ids are the task's revs,
which count without a gap: a reader goes on after its Last-Event-ID. The task is looked at again only when
what was sent has left for the client, so a slow reader holds one look's lines and no more.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from sanic.response import HTTPResponse

from khala.core.task import TERMINAL, Task
from khala.errors import Refusal, Unavailable
from khala.gateway.exchange import Call, json_response
from khala.gateway.queries import Query, task_id
from khala.gateway.reading import read_task
from khala.gateway.routes import Route
from khala.gateway.sse import arrival, event, send_with_beats
from khala.gateway.views import event_view

LOOK_EVERY_S = 1.0
_QUERY = ("follow",)


def event_routes() -> tuple[Route, ...]:
    """The one route of stories."""
    return (
        Route(
            method="GET",
            path="/api/v1/tasks/<id>/events",
            handler=list_events,
            summary="Read or follow a task's story",
            query=_QUERY,
        ),
    )


async def list_events(call: Call, id: str) -> HTTPResponse | None:
    """Every line so far; with `follow=1` server-sent events until the task is finished."""
    wanted = Query(call.request, _QUERY).choice("follow", ("0", "1")) == "1"
    accepts = str(call.request.headers.get("accept", ""))
    if not wanted and "text/event-stream" not in accepts:
        task = await read_task(call, task_id(id), "basic")
        return json_response({"events": [event_view(event) for event in task.events]})
    after = _last_rev(str(call.request.headers.get("last-event-id") or ""))
    async with arrival(call):
        task = await read_task(call, task_id(id), "basic")
    await send_with_beats(call, _lines(call, task, after))
    return None


async def _lines(call: Call, task: Task, after: int) -> AsyncIterator[bytes]:
    while True:
        for line in task.events:
            if line.rev > after:
                after = line.rev
                yield event(line.kind, event_view(line), id=str(line.rev))
        if task.control.state in TERMINAL:
            yield event("end", {"state": task.control.state})
            return
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            now = await call.request.app.ctx.gathered.look(call, task.id)
            if now.control.rev != task.control.rev:
                task = await read_task(call, task.id, "basic")
        except Unavailable:
            continue  # the reader waits with us until the cluster answers again
        except Refusal as error:
            yield event("end", {"state": None, "code": error.code})
            return


def _last_rev(text: str) -> int:
    if not re.fullmatch(r"\d{0,15}", text):
        raise Refusal(
            "Last-Event-ID: not one that this gateway gave", code="malformed", field="Last-Event-ID"
        )
    return int(text or 0)
