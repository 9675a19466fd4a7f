"""The cluster's events: what is new at once and later, trouble told and forgotten, refusals; the counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from gateway.conftest import TOKEN, Gateway, problem
from gateway.test_events import read

from khala.core.commands import CountTasks, TaskCounts
from khala.errors import Unavailable
from khala.gateway import sse, watching
from khala.gateway.watching import Throughput

PATH = "/api/v1/events"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "EVERY_S", dict.fromkeys(watching.EVERY_S, 0.02))


@contextmanager
def watched(gateway: Gateway, topics: str = "") -> Iterator[Iterator[tuple[str, Any]]]:
    with gateway.http.stream("GET", PATH, params={"topics": topics} if topics else {}) as answer:
        assert answer.status_code == 200
        yield ((kind, data) for _, kind, data in read(answer))


def test_all_topics_come_at_once_and_counts_whenever_they_change(gateway: Gateway) -> None:
    with watched(gateway) as events:
        first = dict(next(events) for _ in range(3))
        assert set(first) == {"stats", "executors", "cluster"}
        for topic, body in first.items():
            told = gateway.http.get(f"/api/v1/{topic}").json()
            assert set(told) == set(body), topic
        gateway.cluster.succeed(gateway.submit())
        assert next(body for kind, body in events if kind == "stats" and body["tasks"]["succeeded"] == 1)


def test_what_does_not_change_is_not_said_again(gateway: Gateway) -> None:
    with watched(gateway, "executors") as events:
        assert next(events)[0] == "executors"
        gateway.cluster.trouble = lambda command: Unavailable("nobody is there")
        assert next(events) == ("unavailable", {"detail": "nobody is there"})
        gateway.cluster.trouble = lambda command: None
        assert next(events)[0] == "executors"


def test_who_waits_long_hears_that_the_gateway_lives(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "BEAT_S", 0.05)
    with watched(gateway, "executors") as events:
        assert next(events)[0] == "executors"
        assert [next(events), next(events)] == [("beat", {})] * 2


def test_a_watcher_may_come_while_no_judicator_answers(gateway: Gateway) -> None:
    gateway.cluster.trouble = lambda command: Unavailable("nobody is there")
    with watched(gateway, "stats") as events:
        assert next(events)[0] == "unavailable"
        gateway.cluster.trouble = lambda command: None
        assert next(events)[0] == "stats"


def test_many_watchers_of_one_token_are_one_look(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "EVERY_S", dict.fromkeys(watching.EVERY_S, 60.0))
    for _ in range(5):
        with watched(gateway, "stats") as events:
            next(events)
    assert sum(isinstance(command, CountTasks) for command in gateway.cluster.seen) <= 1


def test_who_may_not_look_is_refused(gateway: Gateway, secured: Gateway) -> None:
    problem(gateway.http.get(PATH, params={"topics": "secrets"}), 400, "malformed")
    problem(secured.http.get(PATH), 401, "unauthorized")
    problem(secured.http.get(PATH, headers={"authorization": "Bearer wrong"}), 401, "unauthorized")


def test_a_token_that_ends_ends_its_watchers(secured: Gateway) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    with secured.http.stream("GET", PATH, headers=headers) as answer:
        lines = read(answer)
        next(lines)
        secured.cluster._tokens = frozenset({"another"})
        assert next(data for _, kind, data in lines if kind == "end") == {"code": "unauthorized"}


def test_throughput_is_of_the_last_minute() -> None:
    seen = Throughput()
    assert seen.note(5, 100.0) == {"finished_per_s": None, "over_s": 0.0}
    assert seen.note(25, 110.0) == {"finished_per_s": 2.0, "over_s": 10.0}
    assert seen.note(25, 165.0) == {"finished_per_s": 0.0, "over_s": 55.0}
    assert json.dumps(seen.note(3, 170.0)["finished_per_s"]) == "0.0", "purged tasks are no negative rate"
    assert seen.note(90, 165.0) == {"finished_per_s": 0.0, "over_s": 60.0}, "no newer than the last one"
    assert seen.note(90, 170.0 + 1e-6) == {"finished_per_s": 0.0, "over_s": 5.0}, "the same moment"


def test_counts_of_many_tasks_say_how_old_they_are(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    told = gateway.http.get("/api/v1/stats").json()
    assert (told["counted_at"], told["at_least"]) == (None, False)
    for counted in (
        TaskCounts(counts={"succeeded": 7}, counted_at=1.5),
        TaskCounts(counts={"succeeded": 7}, at_least=True),
    ):
        monkeypatch.setattr(gateway.cluster, "handle_count_tasks", lambda _command, it=counted: it)
        told = gateway.http.get("/api/v1/stats").json()
        at = "1970-01-01T00:00:01.500000Z" if counted.counted_at else None
        assert (told["total"], told["counted_at"], told["at_least"]) == (7, at, counted.at_least)
