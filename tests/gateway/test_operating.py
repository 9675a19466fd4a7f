"""PATCH, DELETE, retry, attempts and ETag of one task."""

from __future__ import annotations

from gateway.conftest import Gateway, problem

ABSENT = "/api/v1/tasks/" + "f" * 24


def path(id: str, tail: str = "") -> str:
    return f"/api/v1/tasks/{id}{tail}"


def test_labels_and_priority_are_patched(gateway: Gateway) -> None:
    id = gateway.submit(labels={"a": "b"}, priority=1)
    answer = gateway.http.patch(path(id), json={"priority": 9})
    assert (answer.json()["priority"], answer.json()["labels"]) == (9, {"a": "b"})
    answer = gateway.http.patch(path(id), json={"labels": {"c": "d"}})
    assert (answer.json()["priority"], answer.json()["labels"]) == (9, {"c": "d"})
    assert gateway.http.get(path(id)).json()["events"][-1]["detail"] == "labels"
    assert (
        problem(gateway.http.patch(path(id), json={"priority": 101}), 422, "invalid")["field"] == "priority"
    )
    problem(gateway.http.patch(path(id), json={"name": "x"}), 422, "unknown_field")
    problem(gateway.http.patch(ABSENT, json={"priority": 1}), 404, "not_found")
    gateway.cluster.succeed(id)
    problem(gateway.http.patch(path(id), json={"priority": 1}), 409, "finished")


def test_a_finished_task_is_purged_and_its_key_still_known(gateway: Gateway) -> None:
    key = {"idempotency-key": "k"}
    body = {"execute": {"command": "true"}}
    id = gateway.http.post("/api/v1/tasks", json=body, headers=key).json()["id"]
    problem(gateway.http.delete(path(id)), 409, "conflict")
    gateway.cluster.succeed(id)
    assert gateway.http.delete(path(id)).json()["state"] == "succeeded"
    problem(gateway.http.delete(path(id)), 404, "not_found")
    problem(gateway.http.get(path(id)), 404, "not_found")
    again = gateway.http.post("/api/v1/tasks", json=body, headers=key)
    assert (again.status_code, again.json()["id"]) == (200, id)


def test_a_retry_is_a_new_task(gateway: Gateway) -> None:
    id = gateway.submit(name="n", inputs=[{"path": "a", "content": "b"}], labels={"x": "y"})
    problem(gateway.http.post(path(id, "/retry")), 409, "conflict")
    gateway.cluster.succeed(id)
    before = gateway.http.get(path(id)).json()
    key = {"idempotency-key": "r"}
    answer = gateway.http.post(path(id, "/retry"), headers=key)
    new = gateway.http.get(answer.headers["location"]).json()
    assert answer.status_code == 201 and new["id"] == answer.json()["id"] != id
    assert (new["retried_from"], new["state"], new["name"]) == (id, "pending", "n")
    assert (new["inputs"], new["labels"], new["execute"]) == (
        before["inputs"], before["labels"], before["execute"],
    )  # fmt: skip
    again = gateway.http.post(path(id, "/retry"), headers=key)
    assert (again.status_code, again.json()["id"]) == (200, new["id"])
    assert gateway.http.get(path(id)).json() == before
    problem(gateway.http.post(ABSENT + "/retry"), 404, "not_found")


def test_attempts_are_told_from_the_story(gateway: Gateway) -> None:
    id = gateway.submit()
    assert gateway.http.get(path(id, "/attempts")).json() == {"attempts": []}
    gateway.cluster.start(id, executor="e1")
    gateway.cluster.lose(id)
    gateway.cluster.succeed(id)
    first, second = gateway.http.get(path(id, "/attempts")).json()["attempts"]
    assert (first["attempt"], first["executor"], first["outcome"]) == (1, "e1", "lost")
    assert first["detail"] == "executor-1 was lost"
    assert (second["attempt"], second["outcome"]) == (2, "succeeded")
    assert first["assigned_at"] <= first["started_at"] <= first["ended_at"] <= second["assigned_at"]
    task = gateway.http.get(path(id)).json()
    assert (second["started_at"], second["ended_at"]) == (task["started_at"], task["finished_at"])
    problem(gateway.http.get(ABSENT + "/attempts"), 404, "not_found")


def test_a_task_that_has_not_changed_is_not_sent_again(gateway: Gateway) -> None:
    id = gateway.submit()
    tag = gateway.http.get(path(id)).headers["etag"]
    for value in (tag, f'W/{tag}, "other"', "*"):
        answer = gateway.http.get(path(id), headers={"if-none-match": value})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert gateway.http.get(path(id, "?view=basic"), headers={"if-none-match": tag}).status_code == 200
    gateway.cluster.start(id)
    answer = gateway.http.get(path(id), headers={"if-none-match": tag})
    assert answer.status_code == 200 and answer.headers["etag"] != tag


def test_draining_asks_the_judicators(gateway: Gateway) -> None:
    for verb, draining in (("drain", True), ("undrain", False)):
        answer = gateway.http.post(f"/api/v1/executors/e1/{verb}")
        assert (answer.status_code, answer.json()) == (202, {"id": "e1", "draining": draining})


def test_a_batch_key_that_was_used_for_another_batch_is_a_conflict(gateway: Gateway) -> None:
    def send(*commands: object) -> object:
        tasks = [{"execute": {"command": command}} for command in commands]
        return gateway.http.post(
            "/api/v1/tasks/batch", json={"tasks": tasks}, headers={"idempotency-key": "b"}
        )

    first = send(1, "true", "false")
    ids = [result.get("id") for result in first.json()["results"]]
    assert ids[0] is None and all(ids[1:])
    assert [result.get("id") for result in send(1, "true", "false").json()["results"]] == ids
    for other in (("true", "false"), (1, "true"), (1, "true", "false", "true"), ("x", "true", "false")):
        problem(send(*other), 409, "conflict")
    assert sum(gateway.cluster.store.counts().values()) == 2
