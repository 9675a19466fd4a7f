"""A `concurrent.futures` executor whose calls are commands and whose workers are the cluster.

Two threads: one submits what has gathered meanwhile, the other hands out the ends.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

from khala.client.client import Client
from khala.client.harvest import Harvest, Seen
from khala.client.task_calls import submitted_id
from khala.client.templates import filled_task
from khala.client.views import TaskView
from khala.errors import KhalaError, Refusal

_SUBMITTED_AT_ONCE = 1000


class CommandFuture(Future[TaskView]):
    """The finished task, whatever its exit code. `task_id` is empty until it is submitted.

    `cancel` stops the task, also while it runs; a future is never "running" for `concurrent.futures`.
    """

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.task_id = ""
        self._client = client

    def cancel(self) -> bool:
        """Stop it, with all its processes; False when it has ended already."""
        if not super().cancel():
            return False
        if self.task_id:
            self._client.cancel_all([self.task_id])
        return True


class CommandExecutor(Executor):
    """Runs commands on the cluster of `client`, which is the caller's to close.

    `task` has the fields that all tasks have, as in `POST /tasks`.
    """

    def __init__(self, client: Client, task: Mapping[str, Any] | None = None) -> None:
        self._client = client
        self._task = task or {}
        self._lock = threading.Lock()
        self._number = 0
        self._closed = False
        self._wanted: queue.SimpleQueue[tuple[CommandFuture, Mapping[str, Any]] | None] = queue.SimpleQueue()
        self._futures: dict[str, CommandFuture] = {}
        self._harvest = Harvest(lambda task_id, wait_s: client.get(task_id, wait_s=wait_s))
        self._threads = [
            threading.Thread(target=work, name=f"khala-{work.__name__.strip('_')}", daemon=True)
            for work in (self._submit_all, self._hand_out)
        ]
        for thread in self._threads:
            thread.start()

    def submit(  # type: ignore[override]
        self, command: str | Sequence[str], /, *values: object
    ) -> CommandFuture:
        """Run `command` with `values` filled in where its `{}` is, as `Client.map` does."""
        future = CommandFuture(self._client)
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot submit after shutdown")
            self._number += 1
            task = filled_task(command, [str(value) for value in values], self._number, self._task)
            self._wanted.put((future, task))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more; with `cancel_futures` the tasks are cancelled, also those that run."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._wanted.put(None)
        if cancel_futures:
            self._threads[0].join()
            for future in list(self._futures.values()):
                future.cancel()
        if wait:
            for thread in self._threads:
                thread.join()

    def _submit_all(self) -> None:
        more = True
        while more:
            entries = [self._wanted.get()]
            while len(entries) < _SUBMITTED_AT_ONCE and not self._wanted.empty():
                entries.append(self._wanted.get())
            more = None not in entries
            self._submit([entry for entry in entries if entry is not None and not entry[0].cancelled()])
        self._harvest.put(Seen(""))

    def _submit(self, entries: Sequence[tuple[CommandFuture, Mapping[str, Any]]]) -> None:
        if not entries:
            return
        try:
            answers = self._client.submit_many([task for _, task in entries])
        except KhalaError as failure:
            for future, _ in entries:
                _fail(future, failure)
            return
        for (future, _), answer in zip(entries, answers, strict=True):
            try:
                future.task_id = submitted_id(answer)
            except Refusal as refusal:
                _fail(future, refusal)
                continue
            self._futures[future.task_id] = future
            if future.cancelled():
                self._client.cancel_all([future.task_id])
        self._harvest.add([future.task_id for future, _ in entries if future.task_id])

    def _hand_out(self) -> None:
        last = False
        while self._futures or not last:
            seen = self._harvest.next()
            if not seen.task_id:
                last = True
                continue
            future = self._futures.pop(seen.task_id)
            if seen.task is None:
                _fail(future, seen.failure or Refusal("the task is not there"))
            elif future.set_running_or_notify_cancel():
                future.set_result(seen.task)
        self._harvest.close()
        self._harvest.join()


def _fail(future: CommandFuture, failure: BaseException) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(failure)
