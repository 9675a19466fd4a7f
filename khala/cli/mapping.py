"""What `khala map` does with its rows: submit ahead, see their ends, hand them out in order.

One thread reads rows, those of `Harvest` ask for ends; everything else is the caller's thread, which Ctrl-C
reaches.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from khala.cli.map_sources import Row
from khala.client import Client, Harvest, TaskView, new_key, submitted_id
from khala.client.answers import Submitted
from khala.errors import Refusal

_AHEAD = 2000
_BATCH = 500
_LOOK_FOR_ROWS_S = 0.1
_SMALL_BYTES = 16 * 1024
_FULL_S = 0.5


@dataclass(slots=True)
class Running:
    """A row that was submitted. `task` stays None when it was refused, or is read again at its turn."""

    row: Row
    task_id: str = ""
    task: TaskView | None = None
    refusal: Refusal | None = None
    ended: bool = False


@dataclass(slots=True)
class Counts:
    """How far it is."""

    read: int = 0
    all_read: bool = False
    running: int = 0
    done: int = 0
    failed: int = 0


Ended = Callable[[Running], None]


@dataclass(slots=True, kw_only=True)
class MapRun:
    """Runs `rows`, each made a task by `task_of`. `at_end` hears of each end when it comes, `in_turn` in the
    order of the rows, or at once without `keep_order`. At most `most` run at a time (0: as many as fit)."""

    client: Client
    rows: Iterator[Row]
    task_of: Callable[[Row], Mapping[str, Any]]
    at_end: Ended
    in_turn: Ended
    most: int = 0
    keep_order: bool = True
    counts: Counts = field(default_factory=Counts)
    _read: queue.Queue[Row | Exception | None] = field(default_factory=lambda: queue.Queue(_AHEAD))
    _by_id: dict[str, Running] = field(default_factory=dict)
    _order: deque[Running] = field(default_factory=deque)
    _again: deque[Running] = field(default_factory=deque)
    _sending: tuple[str, Sequence[Mapping[str, Any]]] | None = None

    def run(self) -> None:
        """Until all rows have ended. What stops it, Ctrl-C too, leaves tasks behind: see `cancel`."""
        threading.Thread(target=self._read_rows, name="khala-rows", daemon=True).start()
        harvest = Harvest(lambda task_id, wait_s: self.client.get(task_id, wait_s=wait_s))
        try:
            while self._submit(harvest) or self._by_id:
                if not self._by_id:
                    continue
                room = len(self._by_id) < (self.most or _AHEAD) and not self.counts.all_read
                soon_s = _FULL_S if self._again else _LOOK_FOR_ROWS_S if room else None
                try:
                    seen = harvest.next(soon_s)
                except queue.Empty:
                    continue
                if seen.failure is not None:
                    raise seen.failure
                running = self._by_id.pop(seen.task_id)
                running.task = seen.task
                self._end(running)
        finally:
            harvest.close()

    def cancel(self) -> int:
        """Stop all that is not finished; how many there were."""
        if self._sending is not None:
            # The same key tells the ids, also of a request whose answer was not waited for.
            key, tasks = self._sending
            answers = self.client.submit_many(tasks, key=key)
            self._by_id.update({each["id"]: Running(_NO_ROW) for each in answers if "id" in each})
        self.client.cancel_all(list(self._by_id))
        return len(self._by_id)

    def _read_rows(self) -> None:
        try:
            for row in self.rows:
                self._read.put(row)
        except Exception as failure:  # noqa: BLE001 - it is the main thread's to raise
            self._read.put(failure)
        self._read.put(None)

    def _submit(self, harvest: Harvest) -> bool:
        """Submit what has been read and has room; False when there will be no more rows."""
        while self._again or not self.counts.all_read:
            room = min(_BATCH, (self.most or _AHEAD) - len(self._by_id))
            wanted = self._next(room) if room > 0 else []
            if not wanted:
                break
            tasks = [self.task_of(running.row) for running in wanted]
            self._sending = (new_key(), tasks)
            answers = self.client.submit_many(tasks, key=self._sending[0])
            for running, answer in zip(wanted, answers, strict=True):
                self._submitted(running, answer)
            self._sending = None  # only now: until it is known by its id, `cancel` finds a task by the key
            self.counts.running = len(self._by_id)
            harvest.add([running.task_id for running in wanted if running.task_id])
            if self._again:
                # A full quota: there is room when one of ours ends, or another's.
                if not self._by_id:
                    time.sleep(_FULL_S)
                break
        return bool(self._again) or not self.counts.all_read

    def _submitted(self, running: Running, answer: Submitted) -> None:
        try:
            running.task_id = submitted_id(answer)
            self._by_id[running.task_id] = running
        except Refusal as refusal:
            if refusal.code == "too_many_requests":
                self._again.append(running)
                return
            running.refusal = refusal
            self._end(running)

    def _next(self, most: int) -> list[Running]:
        """Those that have been read; waits for the first only if nothing else is to be waited for."""
        found: list[Running] = []
        while len(found) < most:
            if self._again:
                found.append(self._again.popleft())
                continue
            if self.counts.all_read:
                break
            try:
                row = self._read.get(block=not found and not self._by_id)
            except queue.Empty:
                break
            if row is None:
                self.counts.all_read = True
                break
            if isinstance(row, Exception):
                raise row
            self.counts.read += 1
            found.append(Running(row))
            if self.keep_order:
                self._order.append(found[-1])
        return found

    def _end(self, running: Running) -> None:
        running.ended = True
        self.counts.done += 1
        self.counts.running = len(self._by_id)
        self.at_end(running)
        if not self.keep_order:
            self._hand_out(running)
            return
        if running is not self._order[0] and running.task is not None and _is_large(running.task):
            running.task = None
        while self._order and self._order[0].ended:
            self._hand_out(self._order.popleft())

    def _hand_out(self, running: Running) -> None:
        if running.task is None and running.refusal is None:
            running.task = self.client.get(running.task_id)
        self.in_turn(running)


_NO_ROW = Row(0, (), "")


def _is_large(task: TaskView) -> bool:
    """Too large to be kept for its turn."""
    phases = [phase for phase in (task.compile, task.execute) if phase is not None]
    streams = [stream for phase in phases for stream in (phase.stdout, phase.stderr)]
    return sum(len(stream.head) + len(stream.tail) for stream in streams) > _SMALL_BYTES
