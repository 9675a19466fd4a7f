"""Waiting in tests: the only place that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, timeout_s: float = 120.0, what: str = "") -> T:
    """Call `condition` until it answers something true, and return that.

    An AssertionError or a false answer means "not yet"; after `timeout_s` the last one is told.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = 0.005
    while True:
        seen: object
        try:
            answer = condition()
            if answer:
                return answer
            seen = answer
        except AssertionError as not_yet:
            seen = not_yet
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s for {what or condition}: last saw {seen!r}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)
