"""What holds for a whole run: the order of folders, and that Ctrl-C reaches what the tests start.

Folders that take long come first, so that parallel workers end together.
"""

from __future__ import annotations

import signal

import pytest

LONG = ("docker", "faults", "cluster", "simulation", "abuse", "web")


def pytest_configure() -> None:
    """A shell lets what it runs in the background ignore SIGINT, and all that is started there with it."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by folder only; within one the order stays."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    return next((rank for rank, folder in enumerate(LONG) if folder in item.path.parts), len(LONG))
