"""The loop: order, timers, wake-ups, and callbacks that fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from wait import wait_until

from khala.bus.reactor import READ, Reactor


@pytest.fixture
def errors() -> list[str]:
    return []


@pytest.fixture
def reactor(errors: list[str]) -> Iterator[Reactor]:
    made = Reactor("test", on_error=lambda: errors.append("error"))
    made.start()
    yield made
    made.stop(60.0)


def test_calls_run_in_its_thread_in_order(reactor: Reactor) -> None:
    seen: list[tuple[int, str]] = []
    for number in range(1000):
        reactor.call_soon(lambda number=number: seen.append((number, threading.current_thread().name)))
    wait_until(lambda: len(seen) == 1000)
    assert seen == [(number, "test") for number in range(1000)]


def test_no_wake_up_is_lost(reactor: Reactor) -> None:
    counts = [0] * 4

    def count(index: int) -> None:
        counts[index] += 1

    def call(index: int) -> None:
        for _ in range(2000):
            reactor.call_soon(lambda: count(index))

    threads = [threading.Thread(target=call, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: counts == [2000] * 4)


def test_timers_run_by_time_and_can_be_cancelled(reactor: Reactor) -> None:
    seen: list[str] = []

    def plan() -> None:
        reactor.call_later(0.04, lambda: seen.append("second"))
        reactor.call_later(0.02, lambda: seen.append("first"))
        reactor.call_later(0.03, lambda: seen.append("never")).cancel()
        reactor.call_later(0.06, lambda: seen.append("last"))

    reactor.call_soon(plan)
    wait_until(lambda: "last" in seen)
    assert seen == ["first", "second", "last"]


def test_a_failing_callback_is_counted_and_the_loop_lives(reactor: Reactor, errors: list[str]) -> None:
    seen: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    def plan() -> None:
        reactor.call_later(0.0, fail)
        reactor.call_later(0.01, lambda: seen.append("timer"))

    reactor.call_soon(fail)
    reactor.call_soon(plan)
    wait_until(lambda: seen)
    assert errors == ["error", "error"]


def test_a_socket_is_watched_until_it_is_not(reactor: Reactor) -> None:
    ours, theirs = socket.socketpair()
    seen: list[bytes] = []
    with ours, theirs:

        def on_ready(events: int) -> None:
            assert events == READ
            seen.append(ours.recv(10))
            if seen[-1] == b"stop":
                reactor.unwatch(ours)

        reactor.call_soon(lambda: reactor.watch(ours, READ, on_ready))
        theirs.send(b"go")
        wait_until(lambda: seen == [b"go"])
        theirs.send(b"stop")
        wait_until(lambda: seen == [b"go", b"stop"])
        theirs.send(b"more")
        done = threading.Event()
        reactor.call_soon(lambda: reactor.call_soon(done.set))
        assert done.wait(60)
        assert len(seen) == 2


def test_one_that_never_started_leaks_nothing() -> None:
    Reactor("never", on_error=lambda: None).stop(1.0)
