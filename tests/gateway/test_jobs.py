"""Jobs over HTTP, before real actors and real executors."""

from __future__ import annotations

import csv
import io
import itertools
import json
from typing import Any

import httpx
import pytest
from actors.world import World
from gateway.conftest import Gateway, Stage, problem, running
from gateway.real_cluster import RealCluster
from wait import wait_until

from khala.core.people import Quota
from khala.core.sweeps import task_id_of
from khala.store.memory_calls import StoreFault

Json = dict[str, Any]


def sweep(shell: str, array: Json, **fields: Any) -> Json:
    return {"task": {"execute": {"command": shell}}, "array": array} | fields


def create(site: Gateway, body: Json) -> Json:
    answer = site.http.post("/api/v1/jobs", json=body)
    assert answer.status_code == 201, answer.text
    job: Json = answer.json()
    assert answer.headers["location"] == f"/api/v1/jobs/{job['id']}"
    return job


def read(site: Gateway, id: str) -> Json:
    job: Json = site.http.get(f"/api/v1/jobs/{id}").json()
    return job


def finished(site: Gateway, id: str) -> Json:
    def look() -> Json | None:
        job = read(site, id)
        return job if job["finished_at"] else None

    return wait_until(look, what="the end of the job") or {}


def table(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_a_matrix_runs_and_its_results_are_in_order(site: Gateway, world: World) -> None:
    world.executor()
    body = sweep("echo {x}-{y}-{index}", {"matrix": {"x": [1, "b c"], "y": [True, 2.5]}}, name="both")
    job = create(site, body)
    assert (job["total"], job["created"], job["names"], job["name"]) == (4, 4, ["x", "y"], "both")
    done = finished(site, job["id"])
    assert (done["state"], done["counts"]["succeeded"]) == ("succeeded", 4)
    assert done["task"]["execute"]["command"] == "echo {x}-{y}-{index}"
    rows = table(site.http.get(f"/api/v1/jobs/{job['id']}/results.csv"))
    assert [row["stdout"] for row in rows] == ["1-true-0\n", "1-2.5-1\n", "b c-true-2\n", "b c-2.5-3\n"]
    assert [(row["index"], row["x"], row["y"]) for row in rows][2] == ("2", "b c", "true")
    assert {(row["state"], row["exit_code"]) for row in rows} == {("succeeded", "0")}
    text = site.http.get(f"/api/v1/jobs/{job['id']}/results.ndjson").text
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[3]["values"] == {"x": "b c", "y": "2.5"} and lines[3]["stdout_size"] == 10
    listed = site.http.get(f"/api/v1/tasks?job_id={job['id']}&order_by=created_at").json()["tasks"]
    assert [task["id"] for task in listed] == [task_id_of(job["id"], place) for place in range(4)]
    assert [(task["job_id"], task["job_index"]) for task in listed][1] == (job["id"], 1)
    assert [found["id"] for found in site.http.get("/api/v1/jobs").json()["jobs"]] == [job["id"]]


def test_results_stream_in_order_while_the_job_runs(site: Gateway, world: World) -> None:
    world.executor(slots=2)
    shell = "[ {n} = 1 ] && sleep 600; echo {n}"
    job = create(site, sweep(shell, {"range": {"stop": 3}, "name": "n"}))
    with site.http.stream("GET", f"/api/v1/jobs/{job['id']}/results.ndjson?follow=1") as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines))["stdout"] == "0\n"
        wait_until(lambda: read(site, job["id"])["counts"]["succeeded"] == 2, what="the third task")
        now = site.http.get(f"/api/v1/jobs/{job['id']}/results.csv")
        assert [row["index"] for row in table(now)] == ["0", "2"]
        site.http.post(f"/api/v1/tasks/{task_id_of(job['id'], 1)}/cancel")
        assert [json.loads(line)["index"] for line in lines] == [1, 2]


def test_a_cancel_ends_tasks_that_are_still_to_be_made(site: Gateway, world: World) -> None:
    job = create(site, sweep("true", {"range": {"stop": 1500}}))
    assert job["total"] == 1500 and job["counts"]["pending"] >= 1000
    answer = site.http.post(f"/api/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 202
    done = finished(site, job["id"])
    assert (done["state"], done["created"], done["counts"]["cancelled"]) == ("cancelled", 1500, 1500)
    assert site.http.post(f"/api/v1/jobs/{job['id']}/cancel").status_code == 200


def test_too_many_failures_cancel_the_rest(site: Gateway, world: World) -> None:
    world.executor(slots=1)
    job = create(site, sweep("[ {n} -gt 1 ] && sleep 600; exit 1", {"values": [0, 1, 2, 3, 4], "name": "n"},
                             max_failures=1))  # fmt: skip
    done = finished(site, job["id"])
    assert (done["counts"]["failed"], done["counts"]["cancelled"]) == (2, 3)
    assert (done["state"], done["reason"]) == ("cancelled", "more than 1 of its tasks failed")


def test_what_failed_is_retried_as_a_new_job(site: Gateway, world: World) -> None:
    world.executor()
    job = create(site, sweep("echo {index}; exit {code}", {"csv": "code,text\n0,a\n3,b\n0,c\n4,d\n"}))
    problem(site.http.post(f"/api/v1/jobs/{job['id']}/retry?state=succeeded"), 400, "malformed")
    done = finished(site, job["id"])
    assert (done["state"], done["counts"]["failed"]) == ("failed", 2)
    key = {"idempotency-key": "again"}
    answer = site.http.post(f"/api/v1/jobs/{job['id']}/retry", headers=key)
    again = answer.json()
    assert (answer.status_code, again["total"], again["retried_from"]) == (201, 2, job["id"])
    assert site.http.post(f"/api/v1/jobs/{job['id']}/retry", headers=key).status_code == 200
    finished(site, again["id"])
    rows = table(site.http.get(f"/api/v1/jobs/{again['id']}/results.csv"))
    assert [(row["index"], row["text"], row["stdout"]) for row in rows] == [
        ("1", "b", "1\n"),
        ("3", "d", "3\n"),
    ]
    (first, _) = site.http.get(f"/api/v1/tasks?job_id={again['id']}&order_by=created_at").json()["tasks"]
    assert first["retried_from"] == task_id_of(job["id"], 1)
    problem(site.http.post(f"/api/v1/jobs/{again['id']}/retry?state=cancelled"), 409, "conflict")


def test_the_same_key_makes_one_job(site: Gateway) -> None:
    key = {"idempotency-key": "k"}
    body = sweep("true {value}", {"range": {"start": 5, "stop": -5, "step": -5}})
    first = site.http.post("/api/v1/jobs", json=body, headers=key)
    again = site.http.post("/api/v1/jobs", json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"] and first.json()["total"] == 2
    other = site.http.post("/api/v1/jobs", json=body | {"name": "other"}, headers=key)
    problem(other, 409, "conflict")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"array": {}}, "array"),
        ({"array": {"values": []}}, "array"),
        ({"array": {"values": [1], "range": {"stop": 1}}}, "array"),
        ({"array": {"range": {"stop": 5, "step": 0}}}, "array"),
        ({"array": {"values": [1], "name": "index"}}, "array"),
        ({"array": {"matrix": {"a b": [1]}}}, "array"),
        ({"array": {"csv": "a,b\n1\n"}}, "array"),
        ({"array": {"csv": 'a\n"1'}}, "array"),
        ({"array": {"values": ["\u0000"]}}, "array"),
        ({"max_parallel": 0}, "max_parallel"),
        ({"max_failures": -1}, "max_failures"),
        ({"task": {}}, "execute"),
        ({"task": {"name": "{value}" * 60, "execute": {"command": "true"}},
          "array": {"values": ["", "longer"]}}, "name"),
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_wrong_is_refused_and_changes_nothing(site: Gateway, changes: Json, field: str) -> None:
    body = sweep("true", {"values": [1]}) | changes
    answer = problem(site.http.post("/api/v1/jobs", json=body), 422, "invalid")
    assert answer["field"] == field
    assert site.http.get("/api/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    "array",
    [{"range": {"stop": 100_001}}, {"range": {"stop": 10**18}}, {"csv": "a\n" + "1\n" * 100_001},
     {"matrix": {"a": [1] * 1000, "b": [1] * 1000}}],
    ids=["range", "huge", "csv", "matrix"],
)  # fmt: skip
def test_too_many_tasks_are_refused(site: Gateway, array: Json) -> None:
    problem(site.http.post("/api/v1/jobs", json=sweep("true", array)), 413, "too_large")


def test_placeholders_are_only_in_what_stays_in_the_task(site: Gateway) -> None:
    body = sweep("cat", {"values": [1]})
    body["task"]["execute"]["stdin"] = "x" * 70_000
    assert create(site, body)["total"] == 1
    body["task"]["execute"]["stdin"] = "{value}" + "x" * 70_000
    problem(site.http.post("/api/v1/jobs", json=body), 413, "too_large")


def test_a_job_that_was_stored_is_completed_by_whoever_leads(site: Gateway, world: World) -> None:
    world.trouble.next["insert"] = [StoreFault.UNAVAILABLE]
    job = create(site, sweep("true", {"range": {"stop": 2500}}))
    assert job["created"] == 0
    wait_until(lambda: read(site, job["id"])["created"] == 2500, what="all of its tasks")
    assert read(site, job["id"])["counts"]["pending"] == 2500
    world.trouble.crash["open_jobs"] = 1
    body, key = sweep("true", {"range": {"stop": 1001}}), {"idempotency-key": "k"}

    def created() -> Json | None:
        answer = site.http.post("/api/v1/jobs", json=body, headers=key)
        return answer.json() if answer.status_code in (200, 201) else None

    second = wait_until(created, what="the actor that is started again") or {}

    def made() -> bool:
        return bool(site.http.get(f"/api/v1/jobs/{second['id']}").json().get("created") == 1001)

    wait_until(made, what="the last of its tasks")


def test_a_quota_of_waiting_tasks_counts_the_whole_job(world: World, many_apps_in_a_process: None) -> None:
    cluster = RealCluster(world)
    with running(Stage(cluster), auth="token") as gateway:
        ann, root = ({"authorization": f"Bearer {who}"} for who in ("ann", "root"))
        gateway.http.put("/api/v1/quotas/ann", json={"queued": 3}, headers=root)

        def known() -> bool:
            return bool(gateway.http.get("/api/v1/me", headers=ann).json()["quota"]["queued"] == 3)

        wait_until(known, what="the quota to count")
        body = sweep("true", {"range": {"stop": 4}})
        problem(gateway.http.post("/api/v1/jobs", json=body, headers=ann), 429, "too_many_requests")
        body = sweep("true", {"range": {"stop": 3}})
        assert gateway.http.post("/api/v1/jobs", json=body, headers=ann).status_code == 201


def spans(site: Gateway, job: Json, headers: dict[str, str]) -> list[tuple[str, str]]:
    """When each task ran, once all have."""

    def tasks() -> list[Json]:
        found = site.http.get(f"/api/v1/tasks?job_id={job['id']}", headers=headers).json()["tasks"]
        return found if all(task["finished_at"] for task in found) else []

    found = wait_until(tasks, what="the end of all tasks")
    return sorted((task["started_at"], task["finished_at"]) for task in found)


def test_a_job_runs_no_more_at_a_time_than_it_says(site: Gateway, world: World) -> None:
    world.executor(slots=4)
    job = create(site, sweep("sleep 0.1", {"range": {"stop": 4}}, max_parallel=1))
    runs = spans(site, job, {})
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(runs)), runs


def test_a_user_runs_no_more_at_a_time_than_the_quota_says(
    world: World, many_apps_in_a_process: None
) -> None:
    world.store.put_user("ann", "user", Quota(running=1), 0.0)
    world.executor(slots=4)
    with running(Stage(RealCluster(world)), auth="token") as gateway:
        ann = {"authorization": "Bearer ann"}
        body = sweep("sleep 0.1", {"range": {"stop": 4}})
        job = gateway.http.post("/api/v1/jobs", json=body, headers=ann).json()
        runs = spans(gateway, job, ann)
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(runs)), runs
