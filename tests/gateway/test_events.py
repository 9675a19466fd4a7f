"""A task's story: read, followed, resumed; and readers who misbehave."""

from __future__ import annotations

import json
import resource
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from gateway.cluster_model import succeeded
from gateway.conftest import Gateway, problem

from khala.gateway import events, sse

Line = tuple[str, str, dict[str, object]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LOOK_EVERY_S", 0.02)


def read(answer: httpx.Response) -> Iterator[Line]:
    id = kind = ""
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            id = value
        elif name == "event":
            kind = value
        elif name == "data":
            yield id, kind, json.loads(value)


def path(id: str) -> str:
    return f"/api/v1/tasks/{id}/events"


def test_a_story_is_read_line_by_line(gateway: Gateway) -> None:
    id = gateway.submit()
    gateway.cluster.succeed(id)
    told = gateway.http.get(path(id)).json()["events"]
    assert [(event["rev"], event["kind"]) for event in told] == [
        (1, "submitted"), (2, "assigned"), (3, "started"), (4, "ended"),
    ]  # fmt: skip
    problem(gateway.http.get(path("f" * 24)), 404, "not_found")
    problem(gateway.http.get(path(id), params={"x": "1"}), 400, "malformed")


def test_a_story_is_followed_to_its_end_and_resumed(gateway: Gateway) -> None:
    id = gateway.submit()
    with gateway.http.stream("GET", path(id), params={"follow": "1"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = read(answer)
        assert next(lines)[:2] == ("1", "submitted")
        gateway.cluster.start(id)
        assert [next(lines)[1], next(lines)[1]] == ["assigned", "started"]
        gateway.cluster.end(id, succeeded())
        assert [(kind, data.get("state")) for _, kind, data in lines] == [
            ("ended", None),
            ("end", "succeeded"),
        ]
    headers = {"accept": "text/event-stream", "last-event-id": "3"}
    with gateway.http.stream("GET", path(id), headers=headers) as answer:
        assert [id for id, kind, _ in read(answer) if kind != "end"] == ["4"]
    headers["last-event-id"] = "x"
    problem(gateway.http.get(path(id), headers=headers), 400, "malformed")


def test_who_waits_long_hears_that_the_gateway_lives(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "BEAT_S", 0.05)
    id = gateway.submit()
    with gateway.http.stream("GET", path(id), params={"follow": 1}) as answer:
        lines = read(answer)
        assert next(lines)[1] == "submitted"
        assert next(lines)[1:] == ("beat", {})
        gateway.cluster.succeed(id)
        assert [kind for _, kind, _ in lines if kind != "beat"][-1] == "end"


def test_a_purged_task_ends_its_followers(gateway: Gateway) -> None:
    id = gateway.submit()
    with gateway.http.stream("GET", path(id), params={"follow": "1"}) as answer:
        lines = read(answer)
        next(lines)
        gateway.cluster.store._tasks._tasks.clear()
        assert next(lines)[2] == {"state": None, "code": "not_found"}


def test_readers_who_vanish_or_never_read_cost_nothing_that_lasts(gateway: Gateway) -> None:
    id = gateway.submit()
    request = f"GET {path(id)}?follow=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()

    def crowd() -> None:
        connections = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(200)]
        for connection in connections:
            connection.sendall(request)
        for number, connection in enumerate(connections):
            if number % 2:
                assert connection.recv(20)
        assert gateway.http.get(path(id)).status_code == 200
        for connection in connections:
            connection.close()

    crowd()
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        crowd()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 * 1024
    assert threading.active_count() < 100
