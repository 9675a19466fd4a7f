"""The synchronous client: one method per thing that the HTTP API can do.

A task is given as the JSON object of `POST /tasks` (docs/http-api.md). Thread-safe; every method
blocks. Errors: `Refusal` when the request is wrong, `Unavailable` when the cluster cannot do it now.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from khala.client.output import OutputName, follow, read
from khala.client.saving import Write, save
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
from khala.errors import Unavailable

_API = "/api/v1"
_WAIT_SLICE_S = 20.0
_SILENT_S = 30.0


class Client:
    """A connection to one gateway. `token` may be empty on a cluster that was started open."""

    def __init__(
        self, url: str, token: str = "", *, patience_s: float = 30.0, timeout_s: float = 30.0
    ) -> None:
        self._transport = Transport(url, token, patience_s=patience_s, timeout_s=timeout_s)

    def close(self) -> None:
        """Release the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, task: Mapping[str, Any], *, key: str = "") -> str:
        """Create a task; it is on a majority's disk when its id is returned.

        With the same `key` (one is made if none is given) the same task is never created twice.
        """
        answer = self._transport.call("POST", f"{_API}/tasks", body=task, key=key or uuid.uuid4().hex)
        task_id: str = answer["id"]
        return task_id

    def run(self, task: Mapping[str, Any], *, key: str = "", timeout_s: float | None = None) -> TaskView:
        """Create a task and return it once it is finished, as `submit` and `wait`."""
        return self.wait(self.submit(task, key=key), timeout_s=timeout_s)

    def submit_many(
        self, tasks: Sequence[Mapping[str, Any]], *, key: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """Create up to 10,000 tasks; answers `{"id"}` or `{"error"}` for each, in order."""
        answer = self._transport.call(
            "POST", f"{_API}/tasks/batch", body={"tasks": tasks}, key=key or uuid.uuid4().hex
        )
        results: Sequence[Mapping[str, Any]] = answer["results"]
        return results

    def get(self, task_id: str) -> TaskView:
        """One task, with its result when it is finished; Refusal `not_found`."""
        return task_view(self._transport.call("GET", f"{_API}/tasks/{task_id}"))

    def wait(self, task_id: str, *, timeout_s: float | None = None) -> TaskView:
        """The task once it is finished; Unavailable after `timeout_s` seconds (None: wait for ever)."""
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while True:
            slice_s = max(0.0, min(_WAIT_SLICE_S, deadline - time.monotonic()))
            query = {"wait": f"{slice_s:.3f}"}
            answer = self._transport.call("GET", f"{_API}/tasks/{task_id}", query=query, wait_s=slice_s)
            task = task_view(answer)
            if task.finished:
                return task
            if time.monotonic() >= deadline:
                raise Unavailable(f"task {task_id} is still {task.state} after {timeout_s} s: wait longer")

    def list(self, *, page_size: int = 100, page_token: str = "", **filters: str) -> TaskPageView:
        """One page of tasks, newest first; filters as in the API: state, user, name_prefix, label, …"""
        query = {"page_size": str(page_size), **{name: value for name, value in filters.items() if value}}
        if page_token:
            query["page_token"] = page_token
        answer = self._transport.call("GET", f"{_API}/tasks", query=query)
        return TaskPageView(
            tasks=tuple(task_view(one) for one in answer["tasks"]),
            next_page_token=answer.get("next_page_token") or "",
        )

    def follow(
        self,
        task_id: str,
        *,
        phase: str = "execute",
        stream: str = "stdout",
        attempt: int = 0,
        offset: int = 0,
    ) -> Iterator[OutputPiece | OutputEnd]:
        """An attempt's output as it comes, and its end; `attempt` 0 is the newest when it begins.

        Goes on where it was when the connection breaks; Unavailable when that fails for too long.
        """
        name = OutputName(task_id=task_id, phase=phase, stream=stream, attempt=attempt)
        return follow(self._transport, name, offset)

    def read_output(
        self,
        task_id: str,
        *,
        phase: str = "execute",
        stream: str = "stdout",
        attempt: int = 0,
        tail: int = -1,
    ) -> Iterator[OutputPiece]:
        """All that can be read now of an attempt's output, or its last `tail` bytes; `attempt` 0 is the
        newest."""
        name = OutputName(task_id=task_id, phase=phase, stream=stream, attempt=attempt)
        return read(self._transport, name, tail)

    def cancel(self, task_id: str) -> Mapping[str, Any]:
        """Ask that the task and all its processes stop; answers what became of the request."""
        answer: Mapping[str, Any] = self._transport.call("POST", f"{_API}/tasks/{task_id}/cancel")
        return answer

    def explain(self, task_id: str) -> Mapping[str, Any]:
        """Why a task waits and what keeps each executor from it, or what it used of its limits."""
        answer: Mapping[str, Any] = self._transport.call("GET", f"{_API}/tasks/{task_id}/explain")
        return answer

    def outputs(self, task_id: str) -> Sequence[OutputFileView]:
        """The output files of a task; none before it has ended."""
        answer = self._transport.call("GET", f"{_API}/tasks/{task_id}/outputs")
        return tuple(output_file_view(each) for each in answer["outputs"])

    def save_output(self, task_id: str, file: OutputFileView, folder: Path) -> Path:
        """Save an output file below `folder`, under its path, whole or not at all; its place.

        Refusal if its path leads out of the folder, or its content is not what its digest says.
        """
        place = f"{_API}/tasks/{task_id}/outputs/{quote(file.path)}"

        def download(write: Write) -> None:
            with self._transport.opened(place, query={}, headers={}, silent_s=_SILENT_S) as response:
                for piece in response.iter_bytes():
                    write(piece)

        return save(file, folder, download)

    def executors(self) -> Sequence[Mapping[str, Any]]:
        """The executors that the leader knows."""
        answer: Sequence[Mapping[str, Any]] = self._transport.call("GET", f"{_API}/executors")["executors"]
        return answer

    def judicators(self) -> Sequence[Mapping[str, Any]]:
        """The registered judicators, and who leads."""
        answer: Sequence[Mapping[str, Any]] = self._transport.call("GET", f"{_API}/judicators")["judicators"]
        return answer

    def cluster(self) -> Mapping[str, Any]:
        """Leader, epoch, and how many more judicators it can lose."""
        answer: Mapping[str, Any] = self._transport.call("GET", f"{_API}/cluster")
        return answer

    def remove_judicator(self, name: str) -> None:
        """Begin to take a judicator out of the cluster; Refusal `conflict` if too few others live."""
        self._transport.call("DELETE", f"{_API}/judicators/{quote(name, safe='')}")

    def stats(self) -> Mapping[str, Any]:
        """Counts of tasks per state."""
        answer: Mapping[str, Any] = self._transport.call("GET", f"{_API}/stats")
        return answer

    def create_user(self, name: str, role: str) -> Mapping[str, Any]:
        """Make a user; Refusal `conflict` if there is one of another role."""
        body = {"name": name, "role": role}
        answer: Mapping[str, Any] = self._transport.call("POST", f"{_API}/users", body=body)
        return answer

    def create_token(
        self, name: str, *, user: str = "", expires_in_s: float | None = None
    ) -> Mapping[str, Any]:
        """A new token, whose text is in `token` of this answer and nowhere else."""
        body = {"name": name, "user": user, "expires_in": expires_in_s}
        answer: Mapping[str, Any] = self._transport.call("POST", f"{_API}/tokens", body=body)
        return answer

    def tokens(self, user: str = "") -> Sequence[Mapping[str, Any]]:
        """The caller's tokens; those of `user`, or everybody's, for an administrator."""
        query = {"user": user} if user else None
        answer: Sequence[Mapping[str, Any]] = self._transport.call("GET", f"{_API}/tokens", query=query)[
            "tokens"
        ]
        return answer

    def revoke_token(self, token_id: str) -> Mapping[str, Any]:
        """Take a token away; Refusal `not_found`."""
        answer: Mapping[str, Any] = self._transport.call("DELETE", f"{_API}/tokens/{token_id}")
        return answer

    def version(self) -> Mapping[str, Any]:
        """The gateway's version."""
        answer: Mapping[str, Any] = self._transport.call("GET", "/version")
        return answer

    def ready(self) -> bool:
        """Can the cluster accept tasks now? Unavailable says why not."""
        self._transport.call("GET", "/readyz")
        return True
