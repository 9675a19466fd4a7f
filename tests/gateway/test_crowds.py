"""Many who begin to follow at once: each has a turn, and nobody else waits for all of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from gateway.conftest import Gateway, problem
from gateway.outputs import log_of
from wait import wait_until

from khala.core.commands import GetTasks
from khala.core.transfers import GetOutput
from khala.gateway import events, sse


@contextmanager
def crowd(gateway: Gateway, id: str, size: int) -> Iterator[list[socket.socket]]:
    """Followers who have asked and read nothing yet."""
    asks = f"GET {log_of(id)}?follow=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with ExitStack() as held:
        crowd = [
            held.enter_context(socket.create_connection(("127.0.0.1", gateway.port))) for _ in range(size)
        ]
        for one in crowd:
            one.settimeout(60)
            one.sendall(asks)
        yield crowd


def test_a_crowd_begins_a_few_at_a_time(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for something else waits for a few of them, never for all."""
    id = gateway.submit()
    gateway.cluster.succeed(id, b"something")
    answer, lock, go_on = gateway.cluster.handle_get_output, threading.Lock(), threading.Event()
    beginning = most = 0

    def held(command: GetOutput) -> Any:
        nonlocal beginning, most
        if command.wait_s:
            return answer(command)
        with lock:
            beginning += 1
            most = max(most, beginning)
        assert go_on.wait(60)
        with lock:
            beginning -= 1
        return answer(command)

    monkeypatch.setattr(gateway.cluster, "handle_get_output", held)
    with crowd(gateway, id, 20) as followers:
        wait_until(lambda: most == sse.ARRIVALS_AT_ONCE, what="all turns are taken")
        assert gateway.http.get("/api/v1/stats").status_code == 200, "the others wait, and this one does not"
        go_on.set()
        assert all(one.recv(100).startswith(b"HTTP/1.1 200") for one in followers)
    assert most == sse.ARRIVALS_AT_ONCE


def test_whose_turn_does_not_come_is_told_to_come_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = gateway.submit()
    gateway.cluster.succeed(id, b"something")
    answer, goes_on = gateway.cluster.handle_get_output, threading.Event()

    def stuck(command: GetOutput) -> Any:
        assert command.wait_s or goes_on.wait(60)
        return answer(command)

    monkeypatch.setattr(gateway.cluster, "handle_get_output", stuck)
    monkeypatch.setattr(sse, "ARRIVAL_S", 0.05)
    with crowd(gateway, id, sse.ARRIVALS_AT_ONCE) as first:
        wait_until(lambda: len(gateway.cluster.seen) >= len(first), what="all turns are taken")
        late = gateway.http.get(log_of(id), params={"follow": 1})
        problem(late, 503, "unavailable")
        assert late.headers["retry-after"] == "2"
        goes_on.set()
        assert all(one.recv(100).startswith(b"HTTP/1.1 200") for one in first)
    with crowd(gateway, id, 1) as (another,):
        assert another.recv(100).startswith(b"HTTP/1.1 200")


def test_many_stories_are_looked_at_in_one_question(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_EVERY_S", 0.2)
    ids = [gateway.submit() for _ in range(3)]
    with ExitStack() as held:
        followers = [
            held.enter_context(
                gateway.http.stream("GET", f"/api/v1/tasks/{id}/events", params={"follow": 1})
            ).iter_lines()
            for id in ids * 2
        ]

        def all_in_one() -> bool:
            asked = [each for each in gateway.cluster.seen if isinstance(each, GetTasks)]
            return any(sorted(each.task_ids) == sorted(ids) for each in asked)

        wait_until(all_in_one, what="a question for all three")
        gateway.cluster.succeed(ids[1])
        assert 'data: {"state":"succeeded"}' in list(followers[4])
