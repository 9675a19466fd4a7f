"""Creating, reading, waiting for, listing and cancelling tasks over HTTP."""

from __future__ import annotations

import base64
import threading
from dataclasses import replace
from typing import Any

import pytest
from gateway.cluster_model import (
    NOBODY_LEADS,
    always,
    fail_times,
    failed,
    phase_result,
    succeeded,
)
from gateway.conftest import Gateway, problem
from wait import wait_until

from khala.core.checking import Difference
from khala.core.commands import ExecutorView, GetTasks, JudicatorView, SearchTasks, SubmitTasks
from khala.core.task import Phase, Result, State, Verdict
from khala.errors import OutcomeUnknown

UNKNOWN_ID = "0" * 24


def test_a_created_task_is_at_its_location(gateway: Gateway) -> None:
    answer = gateway.http.post("/api/v1/tasks", json={"name": "first", "execute": {"command": "echo hi"}})
    assert answer.status_code == 201
    task = gateway.http.get(answer.headers["location"]).json()
    assert task["id"] == answer.json()["id"]
    assert (task["name"], task["state"], task["execute"]["command"]) == ("first", "pending", "echo hi")
    assert gateway.cluster.task(task["id"]).spec.name == "first"


def test_every_field_reaches_the_cluster_and_comes_back(gateway: Gateway) -> None:
    asked: dict[str, Any] = {
        "name": "all",
        "user": 7,
        "labels": {"course": "ü"},
        "priority": -3,
        "inputs": [
            {"path": "a/main.c", "content": "int main(){}", "mode": "755"},
            {"path": "b.bin", "content": base64.b64encode(b"\x00\xff").decode(), "encoding": "base64"},
            {"path": "c", "file_id": "a" * 64},
        ],
        "archives": [{"file_id": "b" * 64, "path": "lib"}],
        "compile": {"command": "make", "env": {"CC": "gcc"}, "limits": {"wall_time": 5}},
        "execute": {"command": ["./a", "1"], "args": ["2"], "stdin": "in"},
        "limits": {"wall_time": 9.5},
        "resources": {"cpus": 0.5, "memory": 1024},
        "constraints": {"gpu": "yes"},
        "expected_output": "out",
        "retry": {"max_attempts": 2, "on": ["executor_lost", "exited"], "backoff": 1.5},
        "queue_timeout": 60.0,
        "ttl_after_finished": 3600.0,
        "depends_on": [{"task_id": "0" * 24, "condition": "finished"}],
        "checker": "float",
        "checker_tolerance": 0.001,
        "on_disconnect": "stop",
    }
    id = gateway.http.post("/api/v1/tasks", json=asked).json()["id"]
    spec = gateway.cluster.task(id).spec
    assert spec.compile is not None and spec.execute is not None
    assert (spec.compile.shell, spec.compile.limits.wall_time_s) == ("make", 5)
    assert (spec.execute.argv, spec.execute.limits.wall_time_s) == (("./a", "1", "2"), 9.5)
    assert spec.inputs[1].content == b"\x00\xff"
    shown = gateway.http.get(f"/api/v1/tasks/{id}").json()
    for name in ("name", "user", "labels", "priority", "archives", "resources", "constraints", "retry",
                 "queue_timeout", "ttl_after_finished", "depends_on",
                 "expected_output", "checker", "checker_tolerance", "on_disconnect", "compile"):  # fmt: skip
        assert shown[name] == asked[name], name
    assert shown["inputs"] == [
        {"path": "a/main.c", "mode": "755", "content": "int main(){}", "encoding": "utf-8"},
        {"path": "b.bin", "mode": "644", "content": "AP8=", "encoding": "base64"},
        {"path": "c", "mode": "644", "file_id": "a" * 64},
    ]


def test_a_verdict_is_kept_apart_from_the_state(gateway: Gateway) -> None:
    difference = Difference(line=2, column=3, expected="<b>", actual="")
    result = Result(execute=phase_result(), verdict=Verdict.WRONG_ANSWER, difference=difference)
    id = gateway.submit()
    assert gateway.http.get(f"/api/v1/tasks/{id}").json()["verdict"] is None
    gateway.cluster.start(id)
    gateway.cluster.end(id, replace(succeeded(), result=result))
    for view in ("minimal", "basic", "full"):
        shown = gateway.http.get(f"/api/v1/tasks/{id}?view={view}").json()
        assert (shown["state"], shown["verdict"]) == ("succeeded", "wrong_answer"), view
    assert shown["difference"] == {"line": 2, "column": 3, "expected": "<b>", "actual": ""}


def test_a_result_shows_output_and_its_bytes(gateway: Gateway) -> None:
    id = gateway.submit()
    gateway.cluster.succeed(id, stdout=b"caf\xe9")
    shown = gateway.http.get(f"/api/v1/tasks/{id}").json()
    assert (shown["state"], shown["exit_reason"], shown["verdict"]) == ("succeeded", "exited", "not_judged")
    stdout = shown["result"]["execute"]["stdout"]
    assert stdout["head"] == "caf�"
    assert base64.b64decode(stdout["head_base64"]) == b"caf\xe9"
    assert (stdout["size"], stdout["truncated"]) == (4, False)
    assert "tail_base64" not in stdout
    assert shown["result"]["compile"] is None
    assert [event["kind"] for event in shown["events"]] == ["submitted", "assigned", "started", "ended"]


def test_views_say_more_and_more(gateway: Gateway) -> None:
    id = gateway.submit(inputs=[{"path": "x", "content": "secret"}])
    gateway.cluster.succeed(id, stdout=b"out")
    minimal, basic, full = (
        gateway.http.get(f"/api/v1/tasks/{id}?view={view}").json() for view in ("minimal", "basic", "full")
    )
    assert set(minimal) < set(basic) < set(full)
    assert "head" not in basic["result"]["execute"]["stdout"]
    assert basic["result"]["execute"]["stdout"]["size"] == 3
    assert "content" not in basic["inputs"][0] and full["inputs"][0]["content"] == "secret"


def test_waiting_returns_the_finished_task(gateway: Gateway) -> None:
    def run() -> None:
        (task,) = wait_until(lambda: gateway.cluster.store.search(SearchTasks()).tasks, what="a task")
        gateway.cluster.succeed(task.id, stdout=b"done")

    runner = threading.Thread(target=run)
    runner.start()
    answer = gateway.http.post("/api/v1/tasks?wait=60", json={"execute": {"command": "true"}})
    runner.join()
    assert answer.status_code == 201
    assert answer.json()["state"] == "succeeded"
    assert answer.json()["result"]["execute"]["stdout"]["head"] == "done"


def test_waiting_ends_when_the_time_is_up(gateway: Gateway) -> None:
    answer = gateway.http.post("/api/v1/tasks?wait=0.05", json={"execute": {"command": "true"}})
    assert (answer.status_code, answer.json()["state"]) == (201, "pending")
    id = answer.json()["id"]
    assert gateway.http.get(f"/api/v1/tasks/{id}?wait=0.05").json()["state"] == "pending"


def test_limits_and_isolation_are_taken_completed_and_shown(gateway: Gateway) -> None:
    asked = {
        "wall_time": 9, "cpu_time": 2.5, "memory": 1 << 20, "processes": 5, "open_files": 64,
        "file_size": 1000, "output_size": 2000, "disk": 3000,
    }  # fmt: skip
    body = {
        "compile": {"command": "make", "limits": {"memory": 1 << 30}},
        "execute": {"command": "./a"},
        "limits": asked,
        "isolation": "strict",
        "network": True,
    }
    created = gateway.http.post("/api/v1/tasks", json=body)
    assert created.status_code == 201, created.text
    shown = gateway.http.get(created.headers["Location"]).json()
    assert shown["execute"]["limits"] == asked
    assert shown["compile"]["limits"] == {**asked, "memory": 1 << 30}
    assert (shown["isolation"], shown["network"], shown["enforced"]) == ("strict", True, [])


def test_a_task_that_cannot_be_read_after_its_creation_is_created_all_the_same(gateway: Gateway) -> None:
    gateway.cluster.trouble = fail_times(OutcomeUnknown("silence"), 99, GetTasks)
    answer = gateway.http.post("/api/v1/tasks?wait=1", json={"execute": {"command": "true"}})
    assert answer.status_code == 201
    assert gateway.cluster.task(answer.json()["id"]).control.state == State.PENDING


def test_an_unknown_outcome_names_the_task_that_may_exist(gateway: Gateway) -> None:
    gateway.cluster.trouble_after = fail_times(OutcomeUnknown("silence"), 99, SubmitTasks)
    answer = gateway.http.post("/api/v1/tasks", json={"execute": {"command": "true"}})
    body = problem(answer, 503, "outcome_unknown")
    (task,) = gateway.cluster.store.search(SearchTasks()).tasks
    assert task.id in body["detail"]


def test_an_unavailable_cluster_is_a_503_with_retry_after(gateway: Gateway) -> None:
    gateway.cluster.trouble = always(NOBODY_LEADS)
    for answer in (
        gateway.http.post("/api/v1/tasks", json={"execute": {"command": "true"}}),
        gateway.http.get("/api/v1/tasks"),
        gateway.http.get(f"/api/v1/tasks/{UNKNOWN_ID}"),
        gateway.http.post(f"/api/v1/tasks/{UNKNOWN_ID}/cancel"),
        gateway.http.get("/api/v1/executors"),
        gateway.http.get("/readyz"),
    ):
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "2"


def test_unknown_and_malformed_ids(gateway: Gateway) -> None:
    problem(gateway.http.get(f"/api/v1/tasks/{UNKNOWN_ID}"), 404, "not_found")
    problem(gateway.http.post(f"/api/v1/tasks/{UNKNOWN_ID}/cancel"), 404, "not_found")
    for id in ("abc", "X" * 24, "0" * 25, "0" * 24 + "%0a", "%ff", "A" * 24):
        assert problem(gateway.http.get(f"/api/v1/tasks/{id}"), 400, "malformed")["field"] == "id"


def test_cancelling(gateway: Gateway) -> None:
    id = gateway.submit()
    answer = gateway.http.post(f"/api/v1/tasks/{id}/cancel")
    assert (answer.status_code, answer.json()["cancel_requested"]) == (202, True)
    assert gateway.cluster.task(id).control.cancel_requested
    gateway.cluster.cancel(id)
    assert gateway.http.post(f"/api/v1/tasks/{id}/cancel").status_code == 200
    done = gateway.submit()
    gateway.cluster.succeed(done)
    problem(gateway.http.post(f"/api/v1/tasks/{done}/cancel"), 409, "finished")


def test_lists_are_filtered_ordered_and_paged(gateway: Gateway) -> None:
    ids = [gateway.submit(name=f"n{index}", user=index % 2, labels={"k": str(index)}) for index in range(7)]
    gateway.cluster.start(ids[0])
    gateway.cluster.end(ids[0], failed(Phase.EXECUTE, Result(execute=phase_result(exit_code=1))))
    gateway.cluster.start(ids[1], executor="other")

    def listed(query: str) -> list[str]:
        answer = gateway.http.get(f"/api/v1/tasks?{query}")
        assert answer.status_code == 200, answer.text
        return [task["id"] for task in answer.json()["tasks"]]

    assert listed("") == ids[::-1]
    assert listed("order_by=created_at") == ids
    assert listed("user=1&order_by=created_at") == ids[1::2]
    assert listed("state=running") == [ids[1]]
    assert listed("state=running,failed&order_by=created_at") == ids[:2]
    assert listed("state=running&state=failed&order_by=created_at") == ids[:2]
    assert listed("name_prefix=n3") == [ids[3]]
    assert listed("label=k=4") == [ids[4]]
    assert listed("executor=other") == [ids[1]]
    assert listed("exit_reason=exited") == [ids[0]]
    third = gateway.http.get(f"/api/v1/tasks/{ids[3]}").json()["created_at"]
    assert listed(f"created_before={third}&order_by=created_at") == ids[:3]
    assert listed(f"created_after={third}&order_by=created_at") == ids[3:]
    assert listed("created_after=2001-01-01T00:00:00%2B02:00") == ids[::-1]


def test_pages_follow_each_other(gateway: Gateway) -> None:
    ids = [gateway.submit() for _ in range(5)]
    seen: list[str] = []
    token = ""
    for _ in range(3):
        query = {"page_size": "2", "order_by": "created_at"} | ({"page_token": token} if token else {})
        page = gateway.http.get("/api/v1/tasks", params=query).json()
        seen += [task["id"] for task in page["tasks"]]
        token = page["next_page_token"]
    assert (seen, token) == (ids, None)


def test_a_page_that_does_not_fit_into_a_message_is_shorter(gateway: Gateway) -> None:
    ids = [gateway.submit(execute={"command": "#" * 130_000}) for _ in range(80)]
    seen: list[str] = []
    token: str | None = ""
    while token is not None:
        query = {"page_size": "80", "order_by": "created_at"} | ({"page_token": token} if token else {})
        page = gateway.http.get("/api/v1/tasks", params=query).json()
        seen += [task["id"] for task in page["tasks"]]
        token = page["next_page_token"]
    assert seen == ids


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page_token=nonsense", "page_token"),
        ("page_token=%00", "page_token"),
        ("page_size=0", "page_size"),
        ("page_size=1001", "page_size"),
        ("page_size=ten", "page_size"),
        ("view=full&page_size=101", "page_size"),
        ("state=odd", "state"),
        ("user=-1", "user"),
        ("user=1&user=2", "user"),
        ("exit_reason=odd", "exit_reason"),
        ("created_after=yesterday", "created_after"),
        ("created_before=9999-99-99", "created_before"),
        ("order_by=name", "order_by"),
        ("view=all", "view"),
        ("nmae_prefix=x", "nmae_prefix"),
        ("name_prefix=%ff", ""),
    ],
)
def test_malformed_queries_are_refused(gateway: Gateway, query: str, field: str) -> None:
    body = problem(gateway.http.get(f"/api/v1/tasks?{query}"), 400, "malformed")
    assert (body["field"] or "") == field


def test_members_counts_and_health(gateway: Gateway) -> None:
    gateway.cluster.executors = (
        ExecutorView(executor="e1", incarnation="i", hostname="h", slots=2, running=("t",), reported_at=1.5),
    )
    gateway.submit()
    (executor,) = gateway.http.get("/api/v1/executors").json()["executors"]
    assert (executor["id"], executor["reported_at"]) == ("e1", "1970-01-01T00:00:01.500000Z")
    assert gateway.http.get("/api/v1/executors/e1").json() == executor
    problem(gateway.http.get("/api/v1/executors/e2"), 404, "not_found")
    (judicator,) = gateway.http.get("/api/v1/judicators").json()["judicators"]
    assert (judicator["name"], judicator["leader"], judicator["restarts"]) == ("j1", True, {"etcd": 1})
    cluster = gateway.http.get("/api/v1/cluster").json()
    assert (cluster["leader"], cluster["security"]) == ("j1", "open")
    assert cluster["epoch"] == {"generation": 1, "number": 1}
    stats = gateway.http.get("/api/v1/stats").json()
    assert (stats["total"], stats["tasks"]["pending"], stats["tasks"]["failed"]) == (1, 1, 0)
    assert gateway.http.get("/healthz").json() == {"ok": True}
    assert gateway.http.get("/version").json()["version"]
    gateway.cluster.ready = False
    problem(gateway.http.get("/readyz"), 503, "unavailable")
    assert gateway.http.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("all_of_them", "survives"),
    [
        ("vvv", 1), ("vv", 0), ("vvd", 0), ("vvc", 0), ("vvvvv", 2), ("vvvvd", 1),
        ("vvvvn", 1),  # the fifth has the data, but four vote
        ("vvvnn", 1), ("vnnnn", 0), ("vvvvvvv", 3), ("vvvvvvvnn", 3), ("nnn", 0), ("", 0),
    ],
)  # fmt: skip
def test_how_many_judicators_may_be_lost(gateway: Gateway, all_of_them: str, survives: int) -> None:
    """v: votes, d: voted and is dead, c: copies the data, n: has the data and no vote (yet)."""
    gateway.cluster.judicators = tuple(
        JudicatorView(
            name=f"j{place}",
            address="h:1",
            replica_state={"c": "startup2", "d": "(not reachable/healthy)"}.get(kind, "secondary"),
            voting=kind in "vd",
            live=kind != "d",
        )
        for place, kind in enumerate(all_of_them)
    )
    cluster = gateway.http.get("/api/v1/cluster").json()
    assert cluster["survives"] == survives
    assert [one["voting"] for one in cluster["judicators"]] == [kind in "vd" for kind in all_of_them]


def test_the_document_describes_every_route(gateway: Gateway) -> None:
    document = gateway.http.get("/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert {"get", "post"} <= set(document["paths"]["/api/v1/tasks"])
    assert {"get", "post", "delete"} <= set(document["paths"]["/api/task"])
    properties = document["components"]["schemas"]["TaskBody"]["properties"]
    assert "execute" in properties and "retry" in properties


def test_the_root_page_is_static_and_safe(gateway: Gateway) -> None:
    answer = gateway.http.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert gateway.http.head("/").status_code == 200


def test_compile_and_execute_results_are_told_apart(gateway: Gateway) -> None:
    id = gateway.submit(compile={"command": "make"})
    gateway.cluster.start(id, Phase.COMPILE)
    assert gateway.http.get(f"/api/v1/tasks/{id}").json()["phase"] == "compile"
    gateway.cluster.enter(id, Phase.EXECUTE)
    gateway.cluster.end(id, succeeded(b"x", compile=phase_result(stderr=b"warning")))
    result = gateway.http.get(f"/api/v1/tasks/{id}").json()["result"]
    assert result["compile"]["stderr"]["head"] == "warning"
    assert result["execute"]["stdout"]["head"] == "x"
