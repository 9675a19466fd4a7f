"""Calls about tasks, as coroutines; both clients have them."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from khala.client.answers import CancelAnswer, Explanation, Submitted
from khala.client.output import OutputName, follow, read
from khala.client.templates import filled_task
from khala.client.transport import Transport
from khala.client.views import (
    OutputEnd,
    OutputFileView,
    OutputPiece,
    TaskPageView,
    TaskView,
    output_file_view,
    task_view,
)
from khala.errors import Refusal, Unavailable

API = "/api/v1"
WAIT_SLICE_S = 20.0
_SILENT_S = 30.0
_NOT_NOW = frozenset({"unavailable", "outcome_unknown"})

Task = Mapping[str, Any]


class NotFinished(Unavailable):
    """What was waited for is not finished after the given time."""


class TaskCalls:
    """What can be done with tasks. A task is given as the JSON object of `POST /tasks`."""

    _transport: Transport

    async def submit(self, task: Task, *, key: str = "") -> str:
        """Create a task; it is on a majority's disk when its id is returned.

        With the same `key` (one is made if none is given) the same task is never created twice.
        """
        answer = await self._transport.call("POST", f"{API}/tasks", body=task, key=key or new_key())
        task_id: str = answer["id"]
        return task_id

    async def start(self, task: Task, *, wait_s: float, key: str = "") -> TaskView:
        """Create a task and look at it once it is finished, or after `wait_s` seconds: one request."""
        answer = await self._transport.call(
            "POST",
            f"{API}/tasks",
            body=task,
            key=key or new_key(),
            query={"wait": f"{wait_s:.3f}"},
            wait_s=wait_s,
        )
        # Only its id: it is stored, and could not be read.
        return task_view(answer) if "state" in answer else await self.get(answer["id"])

    async def run(self, task: Task, *, key: str = "", timeout_s: float | None = None) -> TaskView:
        """Create a task and return it once it is finished; NotFinished after `timeout_s` seconds."""
        began = time.monotonic()
        most_s = WAIT_SLICE_S if timeout_s is None else min(WAIT_SLICE_S, timeout_s)
        started = await self.start(task, wait_s=most_s, key=key)
        if started.finished:
            return started
        left_s = None if timeout_s is None else max(0.0, began + timeout_s - time.monotonic())
        return await self.wait(started.id, timeout_s=left_s)

    async def submit_many(self, tasks: Sequence[Task], *, key: str = "") -> Sequence[Submitted]:
        """Create up to 10,000 tasks; answers `{"id"}` or `{"error"}` for each, in order.

        What the cluster could not store at the moment is tried again; the key sees to it that what it
        has stored is not stored twice.
        """
        patience, key = self._transport.patience(), key or new_key()
        while True:
            answer = await self._transport.call("POST", f"{API}/tasks/batch", body={"tasks": tasks}, key=key)
            results: Sequence[Submitted] = answer["results"]
            missing = [each["error"] for each in results if each.get("error", {}).get("code") in _NOT_NOW]
            if not missing:
                return results
            try:
                await self._transport.pause(patience, Unavailable(missing[0].get("detail", "")))
            except Unavailable:
                return results

    async def get(self, task_id: str, *, wait_s: float = 0.0) -> TaskView:
        """One task, with its result when it is finished; Refusal `not_found`. It is awaited for `wait_s`."""
        query = {"wait": f"{wait_s:.3f}"} if wait_s else None
        path = f"{API}/tasks/{task_id}"
        return task_view(await self._transport.call("GET", path, query=query, wait_s=wait_s))

    async def wait(self, task_id: str, *, timeout_s: float | None = None) -> TaskView:
        """The task once it is finished; NotFinished after `timeout_s` seconds (None: wait for ever)."""
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while True:
            slice_s = max(0.0, min(WAIT_SLICE_S, deadline - time.monotonic()))
            task = await self.get(task_id, wait_s=slice_s)
            if task.finished:
                return task
            if time.monotonic() >= deadline:
                raise NotFinished(f"task {task_id} is still {task.state} after {timeout_s} s: wait longer")

    async def list(self, /, *, page_size: int = 100, page_token: str = "", **filters: str) -> TaskPageView:
        """One page of tasks, newest first; filters as in the API: state, user, name_prefix, label, …

        It may have fewer than `page_size`, or none: an empty `next_page_token` says that it is the last.
        """
        query = {"page_size": str(page_size), **{name: value for name, value in filters.items() if value}}
        if page_token:
            query["page_token"] = page_token
        answer = await self._transport.call("GET", f"{API}/tasks", query=query)
        return TaskPageView(
            tasks=tuple(task_view(one) for one in answer["tasks"]),
            next_page_token=answer.get("next_page_token") or "",
        )

    async def follow(
        self,
        task_id: str,
        *,
        phase: str = "execute",
        stream: str = "stdout",
        attempt: int = 0,
        offset: int = 0,
    ) -> AsyncGenerator[OutputPiece | OutputEnd, None]:
        """An attempt's output as it comes, and its end; `attempt` 0 is the newest when it begins.

        Goes on where it was when the connection breaks; Unavailable when that fails for too long.
        """
        name = OutputName(task_id=task_id, phase=phase, stream=stream, attempt=attempt)
        async for said in follow(self._transport, name, offset):
            yield said

    async def read_output(
        self,
        task_id: str,
        *,
        phase: str = "execute",
        stream: str = "stdout",
        attempt: int = 0,
        tail: int = -1,
    ) -> AsyncGenerator[OutputPiece, None]:
        """All that can be read now of an attempt's output, or its last `tail` bytes; `attempt` 0 is the
        newest."""
        name = OutputName(task_id=task_id, phase=phase, stream=stream, attempt=attempt)
        async for piece in read(self._transport, name, tail):
            yield piece

    async def cancel(self, task_id: str) -> CancelAnswer:
        """Ask that the task and all its processes stop; answers what became of the request.

        Refusal `finished` if it had ended otherwise before.
        """
        answer: CancelAnswer = await self._transport.call("POST", f"{API}/tasks/{task_id}/cancel")
        return answer

    async def cancel_all(self, task_ids: Sequence[str]) -> None:
        """Cancel those of them that are not finished."""
        for task_id in task_ids:
            try:
                await self.cancel(task_id)
            except Refusal as refusal:
                if refusal.code not in ("finished", "not_found"):
                    raise

    async def map(
        self,
        command: str | Sequence[str],
        *values: Iterable[str],
        task: Task | None = None,
        ahead: int = 1000,
    ) -> AsyncGenerator[TaskView, None]:
        """`command` for each of `values`, filled in where its `{}` is (docs/tutorial.md); the finished tasks,
        in order. Of several lists of values the first ones go together, then the second ones, as in Python's
        map.

        `task` has the fields that all of them have; `ahead` of them are submitted before their turn. Refusal
        at the turn of a task that was refused. What is not finished when it is left is cancelled.
        """
        waiting: deque[Submitted] = deque()
        tasks = (
            filled_task(command, row, number, task or {})
            for number, row in enumerate(zip(*values), start=1)  # noqa: B905
        )
        try:
            while True:
                # Half of it at once, so that there are always some ahead.
                if len(waiting) <= ahead // 2 and (more := list(islice(tasks, ahead - len(waiting)))):
                    waiting.extend(await self.submit_many(more))
                if not waiting:
                    return
                done = await self.wait(submitted_id(waiting[0]))
                waiting.popleft()
                yield done
        finally:
            await self.cancel_all([each["id"] for each in waiting if "id" in each])

    async def retry(self, task_id: str, *, key: str = "") -> str:
        """A new task with a finished one's specification; its id."""
        answer = await self._transport.call("POST", f"{API}/tasks/{task_id}/retry", key=key or new_key())
        created: str = answer["id"]
        return created

    async def explain(self, task_id: str) -> Explanation:
        """Why a task waits and what keeps each executor from it, or what it used of its limits."""
        answer: Explanation = await self._transport.call("GET", f"{API}/tasks/{task_id}/explain")
        return answer

    async def outputs(self, task_id: str) -> Sequence[OutputFileView]:
        """The output files of a task; none before it has ended."""
        answer = await self._transport.call("GET", f"{API}/tasks/{task_id}/outputs")
        return tuple(output_file_view(each) for each in answer["outputs"])

    async def save_output(self, task_id: str, file: OutputFileView, folder: Path) -> Path:
        """Save an output file below `folder`, under its path, whole or not at all; its place.

        Refusal if its path leads out of the folder, or its content is not what its digest says.
        """
        # Not needed by most commands, and 10 ms to load.
        from khala.client.saving import place_of, save

        target = place_of(file.path, folder)
        place = f"{API}/tasks/{task_id}/outputs/{quote(file.path)}"
        async with self._transport.opened(place, query={}, headers={}, silent_s=_SILENT_S) as answer:
            await save(file, target, answer.pieces)
        return target

    async def upload(self, content: bytes) -> str:
        """Store a file; its id (its SHA-256), for a task's `file_id` and `stdin_file`."""
        answer = await self._transport.call("POST", f"{API}/files", content=content)
        stored: str = answer["sha256"]
        return stored


def submitted_id(answer: Submitted) -> str:
    """The id of a task of a batch; the Refusal for which it was not created."""
    error = answer.get("error")
    if error is not None:
        raise Refusal(
            error.get("detail", "refused"), code=error.get("code", "invalid"), field=error.get("field") or ""
        )
    return answer["id"]


def new_key() -> str:
    """An idempotency key that nobody else has."""
    return os.urandom(16).hex()
