"""Clients under faults: they submit, cancel and read without pause, and record what they were told.

A submit is repeated with its key, at the next gateway, until it is acknowledged. Each thread has
connections of its own.
"""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from faults.recording import Call, Recorder
from faults.workload import Order, Workload
from history.records import CancelAcknowledged, SubmitAcknowledged, TaskRead

from khala.client import Client
from khala.core.task import State
from khala.errors import Fault, KhalaError, OutcomeUnknown, Refusal

TASKS = "/api/v1/tasks"
PATIENCE_S = 400.0
CALL_S = 15.0
PAUSE_S = 0.1
READ_AMONG = 60
STATS = "/api/v1/stats"
UNFINISHED = ("pending", "assigned", "running")
COUNT_EVERY_S, OUTSTANDING_S, OUTSTANDING_LEAST = 0.5, 4.0, 20
FINISH_WITHIN_S = PATIENCE_S + 2 * CALL_S


class Doors:
    """One thread's connections to all gateways."""

    def __init__(self, urls: Sequence[str], token: str, recorder: Recorder) -> None:
        self._doors = {url: Client(url, token, patience_s=0.0, timeout_s=CALL_S) for url in urls}
        self._recorder = recorder

    def call(self, gateway: str, verb: str, path: str, **more: Any) -> tuple[Any, KhalaError | None]:
        """The answer and None, or None and the failure; recorded either way."""
        began, answer, failure = time.time(), None, None
        try:
            answer = self._doors[gateway].call(verb, path, **more)
        except KhalaError as error:
            failure = error
        outcome = "ok" if failure is None else "unknown" if _unknown(failure) else "fail"
        subject = more.get("key") or path
        self._recorder.called(Call(began, time.time(), gateway, verb, subject, outcome, str(failure or "")))
        return answer, failure

    def close(self) -> None:
        """Release the connections."""
        for door in self._doors.values():
            door.close()


def _unknown(failure: KhalaError) -> bool:
    return isinstance(failure, (OutcomeUnknown, Fault))


class Load:
    """At most `rate` submits a second through all gateways in turn; `begin` and `finish` may alternate.

    While more tasks are under way than `rate` brings in `OUTSTANDING_S`, nothing is submitted: a slow machine
    has fewer of them, and never a queue that it cannot finish. When nobody can say how many there are,
    submitting goes on.

    `refused` collects what should never occur: a good request that was refused, or one that was not
    acknowledged in all the time there is.
    """

    def __init__(
        self, urls: Sequence[str], token: str, recorder: Recorder, workload: Workload, *, rate: float
    ) -> None:
        self.urls = list(urls)
        self.recorder = recorder
        self.acknowledged: deque[str] = deque(maxlen=READ_AMONG)
        self.wrong: list[str] = []
        self._token = token
        self._workload = workload
        self._rate = rate
        self._most = max(OUTSTANDING_LEAST, round(rate * OUTSTANDING_S))
        self._outstanding = 0
        self._submitters = max(2, round(rate / 5))
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._reads_ended = threading.Event()
        self._cancels: list[tuple[float, str]] = []
        self._threads: list[threading.Thread] = []
        self._readers: list[threading.Thread] = []

    def begin(self) -> None:
        """Start the clients."""
        self._ended.clear()
        self._reads_ended.clear()
        self._threads = [self._start(self._submit_steadily, n) for n in range(self._submitters)]
        self._threads.append(self._start(self._cancel_steadily, 0))
        self._threads.append(self._start(self._count_steadily, 0))
        self._readers = [self._start(self._read_steadily, n) for n in range(2)]

    def finish(self) -> None:
        """Submit nothing new; return when everything that was begun is acknowledged, and reading is over."""
        self._ended.set()
        self._join(self._threads)
        self._reads_ended.set()
        self._join(self._readers)
        assert not self.wrong, self.wrong[:5]

    def submit(self, order: Order) -> str:
        """Submit one task from the calling thread, until it is acknowledged."""
        doors = self._doors()
        try:
            return self._submit(doors, order, 0)
        finally:
            doors.close()

    def _doors(self) -> Doors:
        return Doors(self.urls, self._token, self.recorder)

    def _start(self, work: Callable[[Doors, int], None], number: int) -> threading.Thread:
        def run() -> None:
            doors = self._doors()
            try:
                work(doors, number)
            finally:
                doors.close()

        thread = threading.Thread(target=run, name=f"{work.__name__}-{number}", daemon=True)
        thread.start()
        return thread

    def _join(self, threads: Sequence[threading.Thread]) -> None:
        deadline = time.monotonic() + FINISH_WITHIN_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), f"{thread.name} hangs"

    def _submit_steadily(self, doors: Doors, number: int) -> None:
        pause_s = self._submitters / self._rate
        due = time.monotonic() + pause_s * number / self._submitters
        turn = number
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + pause_s, time.monotonic() - 1.0)
            if self._outstanding >= self._most:
                continue
            with self._lock:
                order = self._workload.next()
            self._submit(doors, order, turn)
            turn += 1

    def _count_steadily(self, doors: Doors, number: int) -> None:
        turn = 0
        while not self._ended.wait(COUNT_EVERY_S):
            turn += 1
            stats, failure = doors.call(self.urls[turn % len(self.urls)], "GET", STATS)
            self._outstanding = 0 if failure else sum(stats["tasks"][state] for state in UNFINISHED)

    def _submit(self, doors: Doors, order: Order, turn: int) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            gateway = self.urls[turn % len(self.urls)]
            turn += 1
            self.recorder.submits(order.key, time.time())
            answer, failure = doors.call(gateway, "POST", TASKS, body=order.body, key=order.key)
            if failure is None:
                self._acknowledged(gateway, order, str(answer["id"]))
                return str(answer["id"])
            if isinstance(failure, Refusal) or time.monotonic() > deadline:
                self.wrong.append(f"{order.key}: {failure}")
                return ""
            self._reads_ended.wait(PAUSE_S)

    def _acknowledged(self, gateway: str, order: Order, task_id: str) -> None:
        now = time.time()
        self.recorder.add(SubmitAcknowledged(now, task_id, order.key))
        self.recorder.add(TaskRead(now, now, gateway, task_id, 1, State.PENDING))
        self.acknowledged.append(task_id)
        if order.cancel_after_s is not None:
            with self._lock:
                heapq.heappush(self._cancels, (time.monotonic() + order.cancel_after_s, task_id))

    def _cancel_steadily(self, doors: Doors, number: int) -> None:
        turn = 0
        while not self._ended.wait(PAUSE_S) or self._cancels:
            with self._lock:
                due = bool(self._cancels) and self._cancels[0][0] <= time.monotonic()
                task_id = heapq.heappop(self._cancels)[1] if due else ""
            if task_id:
                turn += 1
                self._cancel(doors, task_id, turn)

    def _cancel(self, doors: Doors, task_id: str, turn: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            gateway = self.urls[turn % len(self.urls)]
            turn += 1
            _, failure = doors.call(gateway, "POST", f"{TASKS}/{task_id}/cancel")
            finished = isinstance(failure, Refusal) and failure.code == "finished"
            if failure is None or finished:
                self.recorder.add(CancelAcknowledged(time.time(), task_id))
                return
            if isinstance(failure, Refusal):
                break
            self._reads_ended.wait(PAUSE_S)
        self.wrong.append(f"cancel {task_id}: {failure}")

    def _read_steadily(self, doors: Doors, number: int) -> None:
        rng = random.Random(number)
        while not self._reads_ended.wait(PAUSE_S / 2):
            gateway = rng.choice(self.urls)
            known = list(self.acknowledged)
            if known:
                self._read_task(doors, gateway, rng.choice(known))

    def _read_task(self, doors: Doors, gateway: str, task_id: str) -> None:
        began = time.time()
        task, failure = doors.call(gateway, "GET", f"{TASKS}/{task_id}")
        if failure is None:
            rev, state = task["events"][-1]["rev"], State(task["state"])
        elif isinstance(failure, Refusal) and failure.code == "not_found":
            rev, state = 0, State.PENDING
        else:
            return
        self.recorder.add(TaskRead(time.time(), began, gateway, task_id, rev, state))
