"""Fixtures of the bus's tests: nothing may leak, and buses are made for both implementations."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bus.worlds import LoopbackWorld, ThriftWorld, World
from wait import wait_until

FILES = Path("/proc/self/fd")


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Every thread and file descriptor of a test is gone when it ends."""
    threads = set(threading.enumerate())
    files = sum(1 for _ in FILES.iterdir())
    yield
    wait_until(lambda: set(threading.enumerate()) <= threads, what="the end of the test's threads")
    wait_until(lambda: sum(1 for _ in FILES.iterdir()) <= files, what="the end of the test's files")


@pytest.fixture(params=[LoopbackWorld, ThriftWorld], ids=["loopback", "thrift"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Both implementations, one after the other."""
    made = request.param()
    yield made
    made.close()


@pytest.fixture
def thrift_world() -> Iterator[ThriftWorld]:
    """The Thrift bus alone."""
    made = ThriftWorld()
    yield made
    made.close()
