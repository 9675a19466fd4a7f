"""The calls of an RPC client that have no answer yet: those that wait for a connection, and those in
flight. Bounded in number and bytes. `admit` is for any thread, all else for the reactor's.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from khala.bus.codec import Method
from khala.errors import KhalaError, Unavailable

MAX_SEQUENCE = 2**31 - 1


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One call. `give_up_at` and `connect_by` are of time.monotonic(), in seconds."""

    method: Method
    argument: bytes
    give_up_at: float
    connect_by: float
    timeout_s: float
    future: Future[Any] = field(default_factory=Future)


class Calls:
    """Who waits and who is in flight, by sequence number."""

    def __init__(self, *, max_calls: int, max_bytes: int) -> None:
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._count = 0
        self._bytes = 0
        self._sequence = 0
        self.waiting: deque[Call] = deque()
        self.in_flight: dict[int, Call] = {}

    def admit(self, call: Call) -> None:
        """Count a new call. Unavailable when there are too many."""
        with self._lock:
            if self._count >= self._max_calls or self._bytes + len(call.argument) > self._max_bytes:
                raise Unavailable(f"{self._count} calls of this node have no answer yet: try again later")
            self._count += 1
            self._bytes += len(call.argument)

    def launch(self, call: Call) -> int:
        """Give the call a sequence number that no other in flight has."""
        while True:
            self._sequence = self._sequence % MAX_SEQUENCE + 1
            if self._sequence not in self.in_flight:
                self.in_flight[self._sequence] = call
                return self._sequence

    def land(self, sequence: int) -> Call | None:
        """The call in flight with this number, which no longer is."""
        return self.in_flight.pop(sequence, None)

    def finish(self, call: Call, answer: object) -> None:
        """Complete the call's future with a reply, or with an error."""
        with self._lock:
            self._count -= 1
            self._bytes -= len(call.argument)
        if isinstance(answer, KhalaError):
            call.future.set_exception(answer)
        else:
            call.future.set_result(answer)

    def overdue(self, now: float) -> Iterator[tuple[Call, bool]]:
        """Remove the calls whose time is up; with each, whether it was sent."""
        for call in [call for call in self.waiting if min(call.connect_by, call.give_up_at) <= now]:
            self.waiting.remove(call)
            yield call, False
        for sequence in [sequence for sequence, call in self.in_flight.items() if call.give_up_at <= now]:
            yield self.in_flight.pop(sequence), True

    def __len__(self) -> int:
        return self._count
