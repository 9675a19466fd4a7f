"""How the in-memory store is called: behind its lock, and failing when `faults` says so. Any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from khala.errors import OutcomeUnknown, Unavailable

T = TypeVar("T")


class StoreFault(StrEnum):
    """The ways in which a call may fail."""

    UNAVAILABLE = "unavailable"
    UNKNOWN_APPLIED = "unknown_applied"
    UNKNOWN_NOT_APPLIED = "unknown_not_applied"


Faults = Callable[[str], StoreFault | None]


def no_faults(method: str) -> StoreFault | None:
    """Nothing ever fails."""
    return None


class MemoryCalls:
    """The lock, and what befalls a call."""

    def __init__(self, faults: Faults) -> None:
        self._lock = threading.Lock()
        self._faults = faults

    def _read(self, method: str, answer: Callable[[], T]) -> T:
        with self._lock:
            if self._faults(method) is not None:
                raise Unavailable(f"the store cannot do {method} now: try again")
            return answer()

    def _write(self, method: str, apply: Callable[[], T]) -> T:
        with self._lock:
            fault = self._faults(method)
            if fault == StoreFault.UNAVAILABLE:
                raise Unavailable(f"the store cannot do {method} now: try again")
            if fault == StoreFault.UNKNOWN_NOT_APPLIED:
                raise _unknown(method)
            answer = apply()
            if fault == StoreFault.UNKNOWN_APPLIED:
                raise _unknown(method)
            return answer


def _unknown(method: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"{method} may or may not have been done: read back before deciding")
