"""The ends of many tasks, as they come. Used by one thread; up to 16 of its own ask for it.

Every task is asked for in turn, those first that were added first, which mostly end first; each time for some
seconds, so that a long one keeps no other from being seen.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from khala.client.views import TaskView
from khala.errors import KhalaError

ASKED_AT_ONCE = 16
_SHORT_S = 1.0
_LONG_S = 10.0

Look = Callable[[str, float], TaskView]
"""The task of an id, once it is finished or after so many seconds."""


def slice_s(waiting: int) -> float:
    """For how long one of them is asked for, when `waiting` are not asked for meanwhile."""
    return _SHORT_S if waiting else _LONG_S


@dataclass(frozen=True, slots=True)
class Seen:
    """A finished task, or what went wrong in asking for it."""

    task_id: str
    task: TaskView | None = None
    failure: BaseException | None = None


class Harvest:
    """Asks for the added tasks with `look`, which any of its threads calls."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._turn: deque[str] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._seen: queue.SimpleQueue[Seen] = queue.SimpleQueue()
        self._idle = 0
        self._closed = False

    def add(self, task_ids: Iterable[str]) -> None:
        """Ask for these, too."""
        with self._changed:
            before = len(self._turn)
            self._turn.extend(task_ids)
            wanted = len(self._turn) - before
            missing = min(wanted - self._idle, ASKED_AT_ONCE - len(self._threads))
            for _ in range(missing):
                thread = threading.Thread(target=self._ask, name="khala-harvest", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify(wanted)

    def next(self, timeout_s: float | None = None) -> Seen:
        """The next that is seen; queue.Empty after `timeout_s`. There must be one that is not seen yet."""
        return self._seen.get(timeout=timeout_s)

    def put(self, seen: Seen) -> None:
        """Let `next` answer this, in its turn."""
        self._seen.put(seen)

    def close(self) -> None:
        """Ask no more. A thread that waits for an answer ends when it comes, in some seconds."""
        with self._changed:
            self._closed = True
            self._turn.clear()
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the threads; quick when the tasks are finished."""
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(lambda: self._turn or self._closed)
                self._idle -= 1
                if self._closed:
                    return
                task_id = self._turn.popleft()
                patience_s = slice_s(len(self._turn))
            try:
                task = self._look(task_id, patience_s)
            except (KhalaError, OSError) as failure:
                self._seen.put(Seen(task_id, failure=failure))
                continue
            if task.finished:
                self._seen.put(Seen(task_id, task))
                continue
            with self._changed:
                self._turn.append(task_id)
