"""Dependencies, retries and time in the queue, before real actors and executors."""

from __future__ import annotations

from typing import Any

from actors.world import World
from gateway.conftest import Gateway, Stage, problem, running
from gateway.real_cluster import RealCluster

from khala.core.commands import Caller, SubmitTasks
from khala.core.dependencies import Dependency

Json = dict[str, Any]


def end_of(site: Gateway, id: str) -> Json:
    task: Json = site.http.get(f"/api/v1/tasks/{id}?wait=60").json()
    return task


def shell(command: str) -> Json:
    return {"execute": {"command": command}}


def test_a_task_runs_after_what_it_depends_on(site: Gateway, world: World) -> None:
    first = site.submit(**shell("sleep 0.2; exit 3"))
    clean = site.submit(**shell("true"), depends_on=[{"task_id": first, "condition": "failed"}])
    never = site.submit(**shell("true"), depends_on=[{"task_id": first}, {"task_id": clean}])
    world.executor()
    assert end_of(site, clean)["state"] == "succeeded"
    assert end_of(site, clean)["started_at"] >= end_of(site, first)["finished_at"]
    told = end_of(site, never)
    assert (told["state"], told["exit_reason"], told["attempt"]) == ("failed", "dependency_failed", 0)
    assert first in told["reason"]
    late = site.submit(**shell("true"), depends_on=[{"task_id": first, "condition": "finished"}])
    assert end_of(site, late)["state"] == "succeeded"
    site.http.delete(f"/api/v1/tasks/{clean}")
    later = site.submit(**shell("true"), depends_on=[{"task_id": clean}])
    assert end_of(site, later)["state"] == "succeeded"


def test_unknown_tasks_of_others_and_circles_are_refused(world: World, many_apps_in_a_process: None) -> None:
    cluster = RealCluster(world)
    with running(Stage(cluster), auth="token") as gateway:

        def post(who: str, path: str, body: Json) -> Any:
            return gateway.http.post(path, json=body, headers={"authorization": f"Bearer {who}"})

        body = shell("true") | {"depends_on": [{"task_id": "0" * 24}]}
        assert problem(post("ann", "/api/v1/tasks", body), 422, "invalid")["field"] == "depends_on"
        bobs = post("bob", "/api/v1/tasks", shell("true")).json()["id"]
        body["depends_on"] = [{"task_id": bobs}]
        problem(post("ann", "/api/v1/tasks", body), 422, "invalid")
        job = {"task": body, "array": {"range": {"stop": 2}}}
        problem(post("ann", "/api/v1/jobs", job), 422, "invalid")
        assert post("bob", "/api/v1/tasks", body).status_code == 201
        assert post("root", "/api/v1/jobs", job).status_code == 201
        results = post("ann", "/api/v1/tasks/batch", {"tasks": [shell("true"), body]}).json()["results"]
        assert "id" in results[0] and results[1]["error"]["field"] == "depends_on"
    ids = [f"{number:024x}" for number in range(901, 904)]
    chain = [world.new(depends_on=(Dependency(task_id=other),)) for other in (ids[1], ids[0], ids[0])]
    tasks = tuple(
        type(new)(id=id, spec=new.spec) for id, new in zip(ids, [chain[0], chain[1], chain[2]], strict=True)
    )
    answer = world.ask(cluster.judicator, SubmitTasks(tasks=tasks, caller=Caller(token="ann")))
    assert {result.error_field for result in answer.results} == {"depends_on"}
    good = type(tasks[0])(id=ids[0], spec=world.new().spec)
    answer = world.ask(cluster.judicator, SubmitTasks(tasks=(*tasks[1:], good), caller=Caller(token="ann")))
    assert {result.error_detail for result in answer.results} == {""}, "one call may hold a chain"


def test_a_failed_attempt_is_made_again(site: Gateway, world: World) -> None:
    world.executor()
    id = site.submit(**shell("exit 7"), retry={"max_attempts": 3, "on": ["exited"], "backoff": 0.05})
    task = end_of(site, id)
    assert (task["state"], task["exit_reason"], task["attempt"]) == ("failed", "exited", 3)
    assert task["result"]["execute"]["exit_code"] == 7
    attempts = site.http.get(f"/api/v1/tasks/{id}/attempts").json()["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["retried", "retried", "failed"]


def test_a_task_ends_that_nobody_could_take_in_time(site: Gateway) -> None:
    task = end_of(site, site.submit(**shell("true"), queue_timeout=0.2))
    assert (task["state"], task["exit_reason"]) == ("failed", "queue_timeout")
