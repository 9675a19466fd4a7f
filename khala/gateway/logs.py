"""`/api/v1/tasks/{id}/logs/{phase}/{stream}`: a task's output, whole, by range, or as it comes.

Runs on the event loop.
"""

from __future__ import annotations

from sanic.response import HTTPResponse

from khala.core.output import PHASES, STREAMS
from khala.errors import Refusal
from khala.gateway.exchange import Call
from khala.gateway.following import follow, resume_at
from khala.gateway.outputs import OutputName, send_output
from khala.gateway.queries import Query, task_id
from khala.gateway.routes import Route

_QUERY = ("attempt", "offset", "tail", "follow")
_MOST_ATTEMPTS = 10**9
_MOST_BYTES = 10**15


def log_routes() -> tuple[Route, ...]:
    """The one route of logs."""
    return (
        Route(
            method="GET",
            path="/api/v1/tasks/<id>/logs/<phase>/<stream>",
            handler=read_log,
            summary="Read or follow a task's output",
            query=_QUERY,
        ),
    )


async def read_log(call: Call, id: str, phase: str, stream: str) -> HTTPResponse | None:
    """Bytes, with Range; with `follow=1` server-sent events, resumed by Last-Event-ID.

    X-Khala-Attempt and X-Khala-Offset say what the bytes are, X-Khala-Complete whether there will be no
    more, X-Khala-Written how many the task wrote, kept or not.
    """
    query = Query(call.request, _QUERY)
    if phase not in PHASES or stream not in STREAMS:
        raise Refusal(
            f"there is no such output: choose of {', '.join(PHASES)} and of {', '.join(STREAMS)}",
            code="not_found",
        )
    attempt = query.integer("attempt", 1, _MOST_ATTEMPTS) or 0
    name = OutputName(task_id=task_id(id), attempt=attempt, phase=phase, stream=stream)
    offset = query.integer("offset", 0, _MOST_BYTES)
    tail = query.integer("tail", 0, _MOST_BYTES)
    if offset is not None and tail is not None:
        raise Refusal("tail: give offset or tail, one of them", code="malformed", field="tail")
    if query.choice("follow", ("0", "1")) == "0" or call.request.method == "HEAD":
        return await send_output(call, name, offset or 0, tail=tail)
    last = str(call.request.headers.get("last-event-id") or "")
    if last:
        tail = None
    name, begin = resume_at(last, name, offset or 0)
    await follow(call, name, begin, tail=tail)
    return None
