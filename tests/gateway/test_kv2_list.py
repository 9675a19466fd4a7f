"""KV2's list: filters, order and pages by number."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from gateway.conftest import Gateway

from khala.core.commands import TaskPage

REFUSED = {"result": 4, "pages": 0, "tasks": []}


def listed(gateway: Gateway, **params: Any) -> dict[str, Any]:
    answer = requests.get(f"{gateway.url}/api/task/list", params=params, timeout=60)
    assert answer.status_code == 200
    return dict(answer.json())


def ids(answer: dict[str, Any]) -> list[str]:
    assert answer["result"] == 0, answer
    return [task["id"] for task in answer["tasks"]]


def test_an_empty_cluster_has_no_pages(gateway: Gateway) -> None:
    assert listed(gateway) == {"result": 0, "pages": 0, "tasks": []}
    assert listed(gateway, limit=10) == {"result": 0, "pages": 0, "tasks": []}


def test_pages_that_are_not_counted_yet_are_said_to_be_the_least(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = TaskPage(tasks=(), total=41, at_least=True)
    monkeypatch.setattr(gateway.cluster, "handle_search_tasks", lambda _command: page)
    assert listed(gateway, limit=10) == {"result": 0, "pages": 5, "tasks": [], "pages_at_least": True}


def test_a_brief_has_its_seven_fields(gateway: Gateway) -> None:
    id = gateway.submit(user=3)
    gateway.cluster.start(id)
    (brief,) = listed(gateway)["tasks"]
    assert set(brief) == {"id", "user", "add_time", "done", "status", "executor", "report_time"}
    assert (brief["user"], brief["status"], brief["executor"], brief["done"]) == (3, 3, "executor-1", False)
    assert brief["report_time"] > brief["add_time"]


def test_order_and_pages(gateway: Gateway) -> None:
    made = [gateway.submit() for _ in range(5)]
    assert ids(listed(gateway)) == made[::-1]
    assert listed(gateway)["pages"] == 1
    assert ids(listed(gateway, old_to_new="x")) == made
    assert ids(listed(gateway, old_to_new="")) == made[::-1]
    for page, expected in enumerate((made[0:2], made[2:4], made[4:5], [])):
        answer = listed(gateway, old_to_new=1, limit=2, page=page)
        assert (ids(answer), answer["pages"]) == (expected, 3)
    assert ids(listed(gateway, page=1)) == []


def test_filters(gateway: Gateway) -> None:
    made = [gateway.submit(user=index % 2) for index in range(4)]
    times = [task["add_time"] for task in listed(gateway, old_to_new=1)["tasks"]]
    assert ids(listed(gateway, user=1, old_to_new=1)) == made[1::2]
    assert ids(listed(gateway, id=made[2])) == [made[2]]
    assert listed(gateway, id=made[2])["pages"] == 1
    assert ids(listed(gateway, id=made[2], user=1)) == []
    assert listed(gateway, id="0" * 24) == {"result": 0, "pages": 0, "tasks": []}
    assert ids(listed(gateway, start_time=times[2], old_to_new=1)) == made[2:]
    assert ids(listed(gateway, end_time=times[1], old_to_new=1)) == made[:2]
    assert ids(listed(gateway, start_time=times[1], end_time=times[2], old_to_new=1)) == made[1:3]
    assert ids(listed(gateway, end_time="2020-01-01T23:59:59")) == []
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds").replace("T", " ")
    assert listed(gateway, start_time=now)["result"] == 0


def test_limits_beyond_the_stores_page(gateway: Gateway) -> None:
    tasks = [{"execute": {"command": "true"}}] * 2300
    gateway.http.post("/api/v1/tasks/batch", json={"tasks": tasks})
    everything = ids(listed(gateway, limit=0))
    assert len(set(everything)) == 2300
    assert ids(listed(gateway, limit=1500)) == everything[:1500]
    second = listed(gateway, limit=1500, page=1)
    assert (ids(second), second["pages"]) == (everything[1500:], 2)


@pytest.mark.parametrize(
    "params",
    [
        {"id": "odd"},
        {"user": "-1"},
        {"user": "x"},
        {"user": str(2**31)},
        {"limit": "-1"},
        {"limit": "x"},
        {"page": "-1"},
        {"page": str(2**31)},
        {"start_time": "yesterday"},
        {"end_time": "2020-13-01T00:00:00"},
        {"end_time": "\x00"},
    ],
    ids=str,
)
def test_bad_parameters(gateway: Gateway, params: dict[str, str]) -> None:
    assert listed(gateway, **params) == REFUSED


def test_an_unknown_parameter_is_ignored_as_it_was(gateway: Gateway) -> None:
    assert listed(gateway, _="1700000000")["result"] == 0


def test_a_far_page_is_empty(gateway: Gateway) -> None:
    gateway.submit()
    answer = listed(gateway, limit=2**31 - 1, page=2**31 - 1)
    assert (answer["result"], answer["tasks"]) == (0, [])
