"""`/api/v1/events`: the cluster as it changes, as server-sent events; and `/api/v1/stats`.

Runs on the event loop. Judicators are asked at most once a second and topic for all watchers of one worker
that show the same token, and less often where an answer takes long; a watcher is sent what is new to it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sanic.response import HTTPResponse

from khala.core.commands import CountTasks, TaskCounts
from khala.core.task import TERMINAL, State
from khala.errors import Refusal, Unavailable
from khala.gateway.cluster import cluster_view, executors_view
from khala.gateway.exchange import Call, json_response
from khala.gateway.queries import Query
from khala.gateway.routes import Route
from khala.gateway.sse import event, send_with_beats
from khala.gateway.views import time_view

Json = dict[str, Any]
EVERY_S = {"stats": 1.0, "executors": 2.0, "cluster": 3.0}
REST = 20
"""A look that takes long is followed by a rest this many times as long."""
MOST_LOOKS = 1000
OVER_S = 60.0
SAME_S = 0.001
"""Times of counts that are no further apart are one time, worked out twice."""
_QUERY = ("topics",)


class Throughput:
    """How many tasks ended lately, by the counts that one caller was shown; for at most a minute back."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, ended: int, at: float) -> Json:
        """Tasks a second, and over how many seconds; None where nothing was counted before. A count that is
        no newer than the one before it tells nothing."""
        while self._seen and self._seen[0][0] < at - OVER_S:
            self._seen.popleft()
        if not self._seen or at > self._seen[-1][0] + SAME_S:
            self._seen.append((at, ended))
        begin, before = self._seen[0]
        at, ended = self._seen[-1]
        over_s = at - begin
        rate = max(0, ended - before) / over_s if over_s > 0 else None
        return {"finished_per_s": rate, "over_s": over_s}


@dataclass(slots=True)
class _Look:
    """What one caller saw last of one topic. Times are of time.monotonic()."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    seen_at: float = float("-inf")
    took_s: float = 0.0
    body: Json = field(default_factory=dict)
    throughput: Throughput = field(default_factory=Throughput)


class Looks:
    """What this worker's callers saw last, by token and topic."""

    def __init__(self) -> None:
        self._looks: OrderedDict[tuple[str, str], _Look] = OrderedDict()

    async def now(self, call: Call, topic: str, *, fresh: bool = False) -> Json:
        """The topic as it is now, or was within `EVERY_S`. Raises what the judicators answer."""
        look = self._of(call, topic)
        async with look.lock:
            began = time.monotonic()
            if fresh or began - look.seen_at > max(EVERY_S[topic], REST * look.took_s):
                look.body = await _READ[topic](call, look)
                look.seen_at = time.monotonic()
                look.took_s = look.seen_at - began
            return look.body

    def _of(self, call: Call, topic: str) -> _Look:
        key = (call.caller.token, topic)
        look = self._looks.setdefault(key, _Look())
        self._looks.move_to_end(key)
        while len(self._looks) > MOST_LOOKS:
            self._looks.popitem(last=False)
        return look


def watching_routes() -> tuple[Route, ...]:
    """The cluster's events and counts."""
    return (
        Route(
            method="GET", path="/api/v1/events", handler=watch, summary="Follow the whole cluster",
            query=_QUERY,
        ),
        Route(
            method="GET", path="/api/v1/stats", handler=get_stats, summary="Tasks per state, and throughput"
        ),
    )  # fmt: skip


async def get_stats(call: Call) -> HTTPResponse:
    """How many tasks there are in each state, and how many ended a second as this gateway saw it; null when
    it has not looked for this caller within a minute. Of many tasks, those that are over are counted in the
    background: `counted_at` is when, or null; `at_least` while they have not been counted yet."""
    Query(call.request, ())
    return json_response(await call.request.app.ctx.looks.now(call, "stats", fresh=True))


async def watch(call: Call) -> HTTPResponse | None:
    """Server-sent events: one for each of `topics` (stats, executors, cluster) at once and whenever that
    changes; `unavailable` when no judicator answers."""
    topics = Query(call.request, _QUERY).texts("topics") or list(EVERY_S)
    if unknown := next((topic for topic in topics if topic not in EVERY_S), ""):
        raise Refusal(
            f"topics: {unknown[:40]!r} is none of {', '.join(EVERY_S)}", code="malformed", field="topics"
        )
    looks: Looks = call.request.app.ctx.looks
    first: list[bytes] = []
    try:
        await looks.now(call, topics[0])  # who may not look gets an ordinary answer
    except Unavailable as error:
        first.append(_unavailable(error))
    await send_with_beats(call, _changes(call, looks, topics, first))
    return None


async def _changes(call: Call, looks: Looks, topics: list[str], first: list[bytes]) -> AsyncIterator[bytes]:
    for said in first:
        yield said
    shown: dict[str, bytes] = {}
    lost = bool(first)
    while True:
        try:
            news = {topic: event(topic, await looks.now(call, topic)) for topic in topics}
        except Unavailable as error:
            if not lost:
                yield _unavailable(error)
            lost = True
        except Refusal as error:
            yield event("end", {"code": error.code})
            return
        else:
            for topic, told in news.items():
                if lost or told != shown.get(topic):
                    yield told
            shown, lost = news, False
        await asyncio.sleep(min(EVERY_S[topic] for topic in topics))


def _unavailable(error: Unavailable) -> bytes:
    return event("unavailable", {"detail": str(error)})


async def _stats(call: Call, look: _Look) -> Json:
    counted = await call.ask(CountTasks(caller=call.caller), TaskCounts)
    counts = counted.counts
    ended = sum(counts.get(state, 0) for state in TERMINAL)
    age_s = time.time() - counted.counted_at if counted.counted_at else 0.0
    pace: Json = {"finished_per_s": None, "over_s": 0.0}
    if not counted.at_least:
        pace = look.throughput.note(ended, time.monotonic() - age_s)
    return {
        "tasks": {state: counts.get(state, 0) for state in State},
        "total": sum(counts.values()),
        "counted_at": time_view(counted.counted_at or None),
        "at_least": counted.at_least,
        "throughput": pace,
    }


async def _executors(call: Call, look: _Look) -> Json:
    del look
    return await executors_view(call)


async def _cluster(call: Call, look: _Look) -> Json:
    del look
    return await cluster_view(call)


_READ: Mapping[str, Callable[[Call, _Look], Awaitable[Json]]] = {
    "stats": _stats,
    "executors": _executors,
    "cluster": _cluster,
}
