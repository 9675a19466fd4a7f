"""Fixtures of the actors' tests: a cluster in one process, of which nothing may be left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from actors.world import World
from wait import wait_until


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Every thread of a test is gone when it ends."""
    threads = set(threading.enumerate())
    yield
    wait_until(lambda: set(threading.enumerate()) <= threads, what="the end of the test's threads")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty world."""
    made = World(tmp_path)
    yield made
    made.close()
