"""A repeated key returns the first result; the same key with another body is a conflict."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest
from gateway.cluster_model import fail_times
from gateway.conftest import TOKEN, Gateway, problem

from khala.core.commands import SearchTasks, SubmitTasks
from khala.errors import OutcomeUnknown, Unavailable

TASK = {"name": "n", "execute": {"command": "true", "env": {"A": "1", "B": "2"}}}


def post(gateway: Gateway, body: Any, key: str, **headers: str) -> httpx.Response:
    return gateway.http.post("/api/v1/tasks", json=body, headers={"Idempotency-Key": key} | headers)


def stored(gateway: Gateway) -> int:
    return len(gateway.cluster.store.search(SearchTasks()).tasks)


def test_a_repeat_returns_the_first_task(gateway: Gateway) -> None:
    first, again = post(gateway, TASK, "k"), post(gateway, TASK, "k")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["location"] == first.headers["location"]
    assert stored(gateway) == 1


def test_the_same_request_may_be_written_differently(gateway: Gateway) -> None:
    post(gateway, TASK, "k")
    reordered = {"execute": {"env": {"B": "2", "A": "1"}, "command": "true"}, "name": "n", "priority": 0}
    assert post(gateway, reordered, "k").status_code == 200


def test_another_body_is_a_conflict(gateway: Gateway) -> None:
    post(gateway, TASK, "k")
    problem(post(gateway, TASK | {"priority": 1}, "k"), 409, "conflict")
    assert stored(gateway) == 1


def test_the_id_is_made_of_token_key_and_index(secured: Gateway) -> None:
    id = post(secured, TASK, "k", authorization=f"Bearer {TOKEN}").json()["id"]
    owner = hashlib.sha256(TOKEN.encode()).hexdigest()
    assert id == hashlib.sha256(f"{owner}\0k\x000".encode()).hexdigest()[:24]


def test_without_a_key_each_request_makes_a_task(gateway: Gateway) -> None:
    assert gateway.submit() != gateway.submit()
    assert stored(gateway) == 2


@pytest.mark.parametrize("key", ["x" * 257, "caf\u00e9", "tab\tkey"])
def test_a_key_that_is_no_key_is_refused(gateway: Gateway, key: str) -> None:
    answer = gateway.http.post("/api/v1/tasks", json=TASK, headers=[("Idempotency-Key", key.encode())])
    assert problem(answer, 400, "malformed")["field"] == "Idempotency-Key"


def batch(gateway: Gateway, tasks: list[Any], key: str = "") -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return gateway.http.post("/api/v1/tasks/batch", json={"tasks": tasks}, headers=headers)


def test_a_batch_answers_in_order_and_each_task_for_itself(gateway: Gateway) -> None:
    results = batch(gateway, [TASK, {"execute": {}}, TASK | {"odd": 1}, 7, TASK | {"user": -1}, TASK]).json()
    (first, no_command, odd, seven, user, last) = results["results"]
    assert gateway.cluster.task(first["id"]) and gateway.cluster.task(last["id"])
    assert no_command["error"]["field"] == "execute"
    assert (odd["error"]["code"], odd["error"]["field"]) == ("unknown_field", "odd")
    assert seven["error"]["code"] == "invalid"
    assert user["error"]["field"] == "user"
    assert stored(gateway) == 2


def test_a_large_batch_is_split_into_messages_that_fit(gateway: Gateway) -> None:
    tasks = [{"execute": {"command": f"echo {index}"}} for index in range(2500)]
    results = batch(gateway, tasks).json()["results"]
    submits = [command for command in gateway.cluster.seen if isinstance(command, SubmitTasks)]
    assert sorted(len(submit.tasks) for submit in submits) == [250] * 10
    for index in (0, 249, 250, 2499):
        execute = gateway.cluster.task(results[index]["id"]).spec.execute
        assert execute is not None and execute.shell == f"echo {index}"


def test_big_tasks_travel_in_smaller_portions(gateway: Gateway) -> None:
    tasks = [{"execute": {"command": "true", "stdin": "x" * 60_000}} for _ in range(200)]
    assert all("id" in result for result in batch(gateway, tasks).json()["results"])
    assert len([command for command in gateway.cluster.seen if isinstance(command, SubmitTasks)]) >= 3


def test_a_repeated_key_completes_a_half_done_batch(gateway: Gateway) -> None:
    tasks = [{"execute": {"command": f"echo {index}"}} for index in range(1500)]
    fails = fail_times(Unavailable("no leader"), 1, SubmitTasks)

    def trouble(command: object) -> Exception | None:
        """For the first large part; the first task goes alone, and would take all with it."""
        return fails(command) if isinstance(command, SubmitTasks) and len(command.tasks) > 1 else None

    gateway.cluster.trouble = trouble
    half = batch(gateway, tasks, "k").json()["results"]
    failed = [result for result in half if "error" in result]
    assert {result["error"]["code"] for result in failed} == {"unavailable"}
    assert 0 < stored_all(gateway) == 1500 - len(failed) < 1500
    whole = batch(gateway, tasks, "k").json()["results"]
    assert stored_all(gateway) == 1500
    assert [result["id"] for result in whole] == [
        now["id"] if "id" not in before else before["id"] for before, now in zip(half, whole, strict=True)
    ]


def stored_all(gateway: Gateway) -> int:
    return sum(gateway.cluster.store.counts().values())


def test_a_batch_that_could_not_be_stored_at_all_is_a_503(gateway: Gateway) -> None:
    gateway.cluster.trouble = fail_times(Unavailable("no leader", retry_after_s=3), 1, SubmitTasks)
    answer = batch(gateway, [TASK])
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "3"


def test_an_unknown_outcome_in_a_batch_names_the_tasks(gateway: Gateway) -> None:
    tasks = [{"execute": {"command": f"echo {index}"}} for index in range(1500)]
    gateway.cluster.trouble_after = fail_times(OutcomeUnknown("silence"), 1, SubmitTasks)
    unknown = [result["error"] for result in batch(gateway, tasks).json()["results"] if "error" in result]
    assert {error["code"] for error in unknown} == {"outcome_unknown"}
    assert gateway.cluster.task(unknown[0]["task_id"])


def test_a_key_that_was_used_for_another_batch_or_task_is_a_conflict(gateway: Gateway) -> None:
    batch(gateway, [TASK, TASK], "k")
    for other in ([TASK, TASK | {"priority": 5}], [TASK], [TASK, TASK, TASK]):
        problem(batch(gateway, other, "k"), 409, "conflict")
    problem(gateway.http.post("/api/v1/tasks", json=TASK, headers={"idempotency-key": "k"}), 409, "conflict")
    assert stored_all(gateway) == 2


def test_the_bounds_of_a_batch(gateway: Gateway) -> None:
    assert batch(gateway, []).json() == {"results": []}
    assert batch(gateway, [1] * 10_000).status_code == 200
    assert problem(batch(gateway, [1] * 10_001), 413, "too_large")["field"] == "tasks"
    problem(gateway.http.post("/api/v1/tasks/batch", json={"tasks": {}}), 422, "invalid")
    problem(gateway.http.post("/api/v1/tasks/batch", json={"tasks": [], "x": 1}), 422, "unknown_field")
    problem(gateway.http.post("/api/v1/tasks/batch", json={}), 422, "invalid")


def test_a_wrong_token_is_not_one_tasks_fault(secured: Gateway) -> None:
    for token, status, code in (("wrong", 401, "unauthorized"), ("reader-token", 403, "forbidden")):
        answer = secured.http.post(
            "/api/v1/tasks/batch", json={"tasks": [TASK]}, headers={"authorization": f"Bearer {token}"}
        )
        problem(answer, status, code)
