"""`GET /api/task/list` of KV2: pages by number over a store that pages by token.

Runs on the event loop. A KV2 page may be of any size; it is gathered in pages of the store's.
"""

from __future__ import annotations

import math
from dataclasses import replace

from sanic.response import HTTPResponse

from khala.core.commands import GetTasks, SearchTasks, TaskViews
from khala.core.task import Task
from khala.core.validation import MAX_USER
from khala.gateway.exchange import Call, json_response
from khala.gateway.kv2_views import brief_view
from khala.gateway.queries import Query, task_id
from khala.gateway.searching import search

STORE_PAGE = 1000
MAX_NUMBER = 2**31 - 1
# KV2's end is inclusive, the store's is not; times are kept to the microsecond.
_INCLUSIVE_S = 1e-6


async def list_tasks(call: Call) -> HTTPResponse:
    """Briefs of the tasks that match, newest first unless `old_to_new`."""
    query = Query(call.request, known=None)
    limit = query.integer("limit", 0, MAX_NUMBER) or 0
    page = query.integer("page", 0, MAX_NUMBER) or 0
    end = query.time("end_time")
    wanted = SearchTasks(
        user=query.integer("user", 0, MAX_USER),
        created_after=query.time("start_time"),
        created_before=None if end is None else end + _INCLUSIVE_S,
        oldest_first=bool(query.text("old_to_new")),
        offset=limit * page,
        view="minimal",
    )
    at_least = False
    if id := query.text("id"):
        tasks, total = await _one(call, task_id(id), wanted)
    else:
        tasks, total, at_least = await _many(call, wanted, limit)
    pages = math.ceil(total / limit) if limit else min(total, 1)
    if not limit and page > 0:
        tasks = []
    body = {"result": 0, "pages": pages, "tasks": [brief_view(task) for task in tasks]}
    return json_response(body | ({"pages_at_least": True} if at_least else {}))


async def _one(call: Call, id: str, wanted: SearchTasks) -> tuple[list[Task], int]:
    command = GetTasks(task_ids=(id,), view="minimal", caller=call.caller)
    tasks = [
        task
        for task in (await call.ask(command, TaskViews)).tasks
        if (wanted.user is None or task.spec.user == wanted.user)
        and (wanted.created_after is None or task.created_at >= wanted.created_after)
        and (wanted.created_before is None or task.created_at < wanted.created_before)
    ]
    return ([] if wanted.offset else tasks), len(tasks)


async def _many(call: Call, wanted: SearchTasks, limit: int) -> tuple[list[Task], int, bool]:
    """At most `limit` tasks (0: all) from the offset on, how many match in all, and if that is the least."""
    first = replace(wanted, limit=min(limit or STORE_PAGE, STORE_PAGE), count_total=True)
    reply = await search(call, first)
    tasks, total, at_least = list(reply.tasks), reply.total, reply.at_least
    while reply.next_page_token and (not limit or len(tasks) < limit):
        size = min(limit - len(tasks), STORE_PAGE) if limit else STORE_PAGE
        reply = await search(call, replace(wanted, offset=0, limit=size, page_token=reply.next_page_token))
        tasks.extend(reply.tasks)
    return tasks, total, at_least
