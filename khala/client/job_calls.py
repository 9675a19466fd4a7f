"""Calls about jobs, which are many tasks of one template, as coroutines; both clients have them."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import orjson

from khala.client.output import SILENT_S
from khala.client.task_calls import API, NotFinished, new_key
from khala.client.transport import Transport
from khala.client.views import JobPageView, JobView, job_view
from khala.errors import Unavailable

_FIRST_LOOK_S = 0.1
_LONGEST_LOOK_S = 2.0


class JobCalls:
    """What can be done with jobs. A job is given as the JSON object of `POST /jobs`."""

    _transport: Transport

    async def submit_job(self, job: Mapping[str, Any], *, key: str = "") -> JobView:
        """Create a job; it is on a majority's disk when it is returned, its tasks follow.

        With the same `key` (one is made if none is given) the same job is never created twice.
        """
        return job_view(await self._transport.call("POST", f"{API}/jobs", body=job, key=key or new_key()))

    async def job(self, job_id: str) -> JobView:
        """A job, with the number of its tasks in each state; Refusal `not_found`."""
        return job_view(await self._transport.call("GET", f"{API}/jobs/{job_id}"))

    async def jobs(self, *, page_size: int = 50, page_token: str = "") -> JobPageView:
        """One page of jobs, the newest first."""
        query = {"page_size": str(page_size)} | ({"page_token": page_token} if page_token else {})
        answer = await self._transport.call("GET", f"{API}/jobs", query=query)
        return JobPageView(
            jobs=tuple(job_view(one) for one in answer["jobs"]),
            next_page_token=answer.get("next_page_token") or "",
        )

    async def watch_job(
        self, job_id: str, *, timeout_s: float | None = None
    ) -> AsyncGenerator[JobView, None]:
        """The job now and then until it is finished, so also last; NotFinished after `timeout_s` seconds."""
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        pause_s = _FIRST_LOOK_S
        while True:
            seen = await self.job(job_id)
            yield seen
            if seen.finished:
                return
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise NotFinished(f"job {job_id} is still {seen.state} after {timeout_s} s: wait longer")
            await self._transport.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, _LONGEST_LOOK_S)

    async def wait_job(self, job_id: str, *, timeout_s: float | None = None) -> JobView:
        """The job once it is finished; NotFinished after `timeout_s` seconds."""
        async for seen in self.watch_job(job_id, timeout_s=timeout_s):
            last = seen
        return last

    async def cancel_job(self, job_id: str) -> JobView:
        """End all its tasks, those that are still to be made too; Refusal `finished` if it had ended."""
        return job_view(await self._transport.call("POST", f"{API}/jobs/{job_id}/cancel"))

    async def retry_job(self, job_id: str, *, states: Sequence[str] = ("failed",), key: str = "") -> JobView:
        """A new job of those tasks that ended in one of `states`; Refusal unless the old one is finished."""
        query = {"state": ",".join(states)}
        path = f"{API}/jobs/{job_id}/retry"
        return job_view(await self._transport.call("POST", path, query=query, key=key or new_key()))

    async def results(self, job_id: str, *, follow: bool = False) -> AsyncGenerator[Mapping[str, Any], None]:
        """What came of each finished task, in the order of the array; `follow`: of all, as they end."""
        rest = b""
        async for piece in self.raw_results(job_id, form="ndjson", follow=follow):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield orjson.loads(line)

    async def raw_results(
        self, job_id: str, *, form: str = "csv", follow: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """The same as text: `csv` or `ndjson`. Goes on where it was when the connection breaks: what is
        finished never changes, so the same bytes come again and are passed over."""
        path, query = f"{API}/jobs/{job_id}/results.{form}", {"follow": "1"} if follow else {}
        patience, given = self._transport.patience(), 0
        while True:
            passed = 0
            try:
                async with self._transport.opened(path, query=query, headers={}, silent_s=SILENT_S) as answer:
                    # Nothing comes while the next task takes its time: that is no failure.
                    patience.came_on(time.monotonic())
                    async for piece in answer.pieces:
                        fresh = piece[max(0, given - passed) :]
                        passed += len(piece)
                        if fresh:
                            given += len(fresh)
                            yield fresh
                return
            except Unavailable as failure:
                await self._transport.pause(patience, failure)
