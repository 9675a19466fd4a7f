"""Counts that take long: made in a thread of their own when somebody asks, and remembered meanwhile.

Any thread may ask. Nothing is stored, so after a crash, a purge or a restore the next count is right again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from khala.errors import KhalaError

T = TypeVar("T")
REST = 20.0
"""After a count comes a rest this many times as long."""
MOST_REMEMBERED = 200
MOST_WAITING = 20


@dataclass(slots=True)
class _Known(Generic[T]):
    """What is known of one count: the last answer, and the moment (Unix seconds) that it is of."""

    answer: tuple[T, float] | None = None
    counting: bool = False
    again_at: float = 0.0


class Background(Generic[T]):
    """The last answers, by what was counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, _Known[T]] = OrderedDict()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="khala-counting")

    def latest(self, key: Hashable, count: Callable[[], T]) -> tuple[T, float] | None:
        """What was counted last, and when; None before the first time. Has it counted again, if it is time;
        when a count fails, the one before it stays."""
        with self._lock:
            known = self._known.setdefault(key, _Known())
            self._known.move_to_end(key)
            if len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
            waiting = sum(each.counting for each in self._known.values())
            if not known.counting and time.monotonic() >= known.again_at and waiting < MOST_WAITING:
                known.counting = True
                self._thread.submit(self._count, known, count)
            return known.answer

    def remembered(self, key: Hashable) -> tuple[T, float] | None:
        """The same, without having anything counted."""
        with self._lock:
            known = self._known.get(key)
            return None if known is None else known.answer

    def close(self) -> None:
        """End the thread, after the count that it may be at."""
        self._thread.shutdown(cancel_futures=True)

    def _count(self, known: _Known[T], count: Callable[[], T]) -> None:
        began, at = time.monotonic(), time.time()
        answer = None
        try:
            answer = (count(), at)
        except KhalaError:
            # Whoever asks is told what is known, and it is tried again.
            answer = None
        finally:
            ended = time.monotonic()
            with self._lock:
                known.answer = answer or known.answer
                known.counting, known.again_at = False, ended + REST * (ended - began)
