"""Why a task waits, in its view and at length; what a finished one used."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import pytest
from gateway.cluster_model import always, failed, phase_result, succeeded
from gateway.conftest import Gateway, problem
from wait import wait_until

from khala.core.commands import ExecutorView, ListExecutors, QueuePlace
from khala.core.task import ExitReason, Phase, Result
from khala.errors import Unavailable
from khala.gateway import explaining

SMALL = ExecutorView(executor="e1", incarnation="i", slots=2, cpus=2.0, isolation=("none", "basic"))


def reason_of(gateway: Gateway, id: str) -> str:
    return str(gateway.http.get(f"/api/v1/tasks/{id}").json()["reason"])


def test_a_pending_task_says_that_nothing_can_take_it(
    start_gateway: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining, "FRESH_S", 600.0)
    gateway = start_gateway()
    gateway.cluster.executors = (SMALL,)
    stuck = gateway.submit(resources={"cpus": 8}, constraints={"gpu": "a"})
    fine = gateway.submit()
    assert reason_of(gateway, stuck) == "no executor can take it: e1 has 2 of 8 cpus, has no label 'gpu'"
    assert reason_of(gateway, fine) == ""
    asked = [command for command in gateway.cluster.seen if isinstance(command, ListExecutors)]
    assert len(asked) == 1, "many looks ask the leader once in a while"
    assert gateway.http.get(f"/api/v1/tasks/{stuck}?view=minimal").json()["reason"] == ""


def test_without_a_leader_the_task_is_shown_all_the_same(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway()
    id = gateway.submit()

    def trouble(command: object) -> Exception | None:
        return Unavailable("a leader is being elected") if isinstance(command, ListExecutors) else None

    gateway.cluster.trouble = trouble
    assert gateway.http.get(f"/api/v1/tasks/{id}").json()["state"] == "pending"
    problem(gateway.http.get(f"/api/v1/tasks/{id}/explain"), 503, "unavailable")


def test_no_executor_at_all_and_then_one(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway()
    id = gateway.submit()
    assert reason_of(gateway, id) == "no executor is connected"
    gateway.cluster.executors = (SMALL,)
    wait_until(lambda: not reason_of(gateway, id), what="a look at what is there now")


def test_explain_names_each_executor(gateway: Gateway) -> None:
    gateway.cluster.executors = (SMALL, ExecutorView(executor="e2", incarnation="i", slots=1, cpus=9.0))
    id = gateway.submit(resources={"cpus": 8})
    told = gateway.http.get(f"/api/v1/tasks/{id}/explain").json()
    assert told["reason"].startswith("no executor can take it: e1 has 2 of 8 cpus; e2 does not hold")
    assert told["executors"] == [
        {"id": "e1", "obstacles": ["has 2 of 8 cpus"]},
        {"id": "e2", "obstacles": ["does not hold isolation basic"]},
    ]


def test_explain_names_what_a_task_waits_for(gateway: Gateway) -> None:
    gateway.cluster.executors = (SMALL,)
    first, second = gateway.submit(), gateway.submit()
    waits = [{"task_id": first}, {"task_id": second, "condition": "finished"}]
    id = gateway.submit(depends_on=waits, queue_timeout=3600)
    told = gateway.http.get(f"/api/v1/tasks/{id}/explain").json()
    assert told["reason"].startswith(f"it waits for 2 of 2 tasks: {first} is pending")
    assert told["dependencies"][1] == {"task_id": second, "condition": "finished", "state": "pending"}
    asked_at = gateway.http.get(f"/api/v1/tasks/{id}").json()["queued_at"]
    seconds = [datetime.fromisoformat(text).timestamp() for text in (asked_at, told["queue_timeout_at"])]
    assert seconds[1] - seconds[0] == pytest.approx(3600)
    for other in (first, second):
        gateway.cluster.start(other)
        gateway.cluster.end(other, succeeded())
    gateway.http.delete(f"/api/v1/tasks/{first}").raise_for_status()
    told = gateway.http.get(f"/api/v1/tasks/{id}/explain").json()
    assert told["reason"].startswith("waits for room") and told["not_before"] is None
    assert [each["state"] for each in told["dependencies"]] == ["purged", "succeeded"]


def test_explain_tells_the_place_in_the_queue(gateway: Gateway) -> None:
    gateway.cluster.executors = (SMALL,)
    id = gateway.submit()
    told = gateway.http.get(f"/api/v1/tasks/{id}/explain").json()
    assert told["place"] is None, "it is not in the leader's queue yet"
    gateway.cluster.places[id] = QueuePlace(task_id=id, before=3187, exact=False, waiting=9000)
    told = gateway.http.get(f"/api/v1/tasks/{id}/explain").json()
    assert told["place"] == {"before": 3187, "exact": False, "waiting": 9000}
    assert told["reason"].endswith("; about 3,200 tasks of its owner come before it")
    described = gateway.http.get("/api/v1/openapi.json").json()["paths"]["/api/v1/tasks/{id}/explain"]
    assert "`place` in the queue" in described["get"]["description"]


def test_explain_says_until_when_a_task_backs_off(gateway: Gateway) -> None:
    gateway.cluster.executors = (SMALL,)
    id = gateway.submit(retry={"on": ["exited"], "backoff": 500})
    gateway.cluster.start(id)
    gateway.cluster.retry(id, failed(Phase.EXECUTE, None), until=time.time() + 500)
    told = gateway.http.get(f"/api/v1/tasks/{id}/explain").json()
    assert told["reason"].startswith("it is tried again in 4") or told["reason"].endswith("in 500 s")
    assert datetime.fromisoformat(told["not_before"]).timestamp() > time.time() + 100
    assert told["earlier_reason"] == "attempt 1: exited"


def test_explain_a_finished_task(gateway: Gateway) -> None:
    id = gateway.submit(limits={"wall_time": 2.5, "output_size": 10})
    gateway.cluster.start(id)
    result = Result(execute=phase_result(stdout=b"x" * 11))
    gateway.cluster.end(id, failed(Phase.EXECUTE, result, ExitReason.OUTPUT_LIMIT))
    told = gateway.http.get(f"/api/v1/tasks/{id}/explain").json()
    assert (told["state"], told["exit_reason"], told["verdict"]) == ("failed", "output_limit", "not_judged")
    assert told["usage"]["execute"]["output_size"] == {"used": 11, "limit": 10}
    assert told["usage"]["execute"]["wall_time"]["limit"] == 2.5
    assert "compile" not in told["usage"]


def test_explain_what_is_not_there(gateway: Gateway) -> None:
    problem(gateway.http.get(f"/api/v1/tasks/{'0' * 24}/explain"), 404, "not_found")
    gateway.cluster.trouble = always(Unavailable("no store"))
    problem(gateway.http.get(f"/api/v1/tasks/{'0' * 24}/explain"), 503, "unavailable")
