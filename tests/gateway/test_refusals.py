"""Bad input gets a clear refusal that names the field, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from gateway.conftest import Gateway, problem

RUN = {"command": "true"}
BIG = "x" * (128 * 1024)

INVALID: list[tuple[dict[str, Any], str]] = [
    ({}, "execute"),
    ({"execute": None}, "execute"),
    ({"execute": {}}, "execute"),
    ({"execute": {"command": ""}}, "execute.command"),
    ({"execute": {"command": "a", "limits": {"memory": -1}}}, "execute.limits.memory"),
    ({"execute": {"command": "a", "limits": {"processes": 1.5}}}, "execute.limits.processes"),
    ({"execute": {"command": "a"}, "isolation": "total"}, "isolation"),
    ({"execute": {"command": []}}, "execute.command"),
    ({"execute": {"command": [""]}}, "execute.command"),
    ({"execute": {"command": 5}}, "execute.command"),
    ({"execute": {"command": ["a", 1]}}, "execute.command[1]"),
    ({"execute": {"command": "a\0b"}}, "execute.command"),
    ({"execute": {"command": "a", "args": ["b"]}}, "execute.args"),
    ({"execute": {"command": "a", "env": {"A=B": "c"}}}, "execute.env"),
    ({"execute": {"command": "a", "env": {"": "c"}}}, "execute.env"),
    ({"execute": {"command": "a", "env": {"A": "c\0"}}}, "execute.env.A"),
    ({"execute": {"command": "a", "env": {"A": BIG}}}, "execute.env.A"),
    ({"execute": {"command": "a", "limits": {"wall_time": -1}}}, "execute.limits.wall_time"),
    ({"execute": {"command": "a", "limits": {"wall_time": "1"}}}, "execute.limits.wall_time"),
    ({"execute": {"command": "a", "stdin_file": "abc"}}, "execute.stdin_file"),
    ({"execute": {"command": "a", "stdin": "x", "stdin_file": "a" * 64}}, "execute.stdin_file"),
    ({"execute": RUN, "limits": {"wall_time": -0.5}}, "execute.limits.wall_time"),
    ({"compile": {"command": ""}}, "compile.command"),
    ({"execute": RUN, "name": "x" * 257}, "name"),
    ({"execute": RUN, "name": 1}, "name"),
    ({"execute": RUN, "user": -1}, "user"),
    ({"execute": RUN, "user": 2**31}, "user"),
    ({"execute": RUN, "user": 10**30}, "user"),
    ({"execute": RUN, "user": True}, "user"),
    ({"execute": RUN, "user": 1.5}, "user"),
    ({"execute": RUN, "priority": 101}, "priority"),
    ({"execute": RUN, "priority": -101}, "priority"),
    ({"execute": RUN, "labels": {f"k{index}": "v" for index in range(65)}}, "labels"),
    ({"execute": RUN, "labels": {"k": "v" * 257}}, "labels.k"),
    ({"execute": RUN, "labels": {"": "v"}}, "labels"),
    ({"execute": RUN, "labels": {"k": 1}}, "labels[...]"),
    ({"execute": RUN, "labels": ["k"]}, "labels"),
    ({"execute": RUN, "constraints": {"k": None}}, "constraints[...]"),
    ({"execute": RUN, "resources": {"cpus": 0}}, "resources.cpus"),
    ({"execute": RUN, "resources": {"cpus": 1025}}, "resources.cpus"),
    ({"execute": RUN, "resources": {"memory": -1}}, "resources.memory"),
    ({"execute": RUN, "resources": {"memory": 2**70}}, "resources.memory"),
    ({"execute": RUN, "retry": {"max_attempts": 0}}, "retry.max_attempts"),
    ({"execute": RUN, "retry": {"max_attempts": 101}}, "retry.max_attempts"),
    ({"execute": RUN, "retry": {"on": ["cancelled"]}}, "retry.on"),
    ({"execute": RUN, "retry": {"on": ["bad luck"]}}, "retry.on[0]"),
    ({"execute": RUN, "retry": {"backoff": -1}}, "retry.backoff"),
    ({"execute": RUN, "queue_timeout": -1}, "queue_timeout"),
    ({"execute": RUN, "ttl_after_finished": -1}, "ttl_after_finished"),
    ({"execute": RUN, "depends_on": [{"task_id": "x"}]}, "depends_on[0].task_id"),
    ({"execute": RUN, "depends_on": [{"task_id": "0" * 24}] * 2}, "depends_on"),
    ({"execute": RUN, "depends_on": [{"task_id": "0" * 24, "condition": "lost"}]}, "depends_on[0].condition"),
    ({"execute": RUN, "on_disconnect": "maybe"}, "on_disconnect"),
    ({"execute": RUN, "inputs": [{"path": "a"}]}, "inputs[0]"),
    ({"execute": RUN, "inputs": [{"path": "a", "content": "", "file_id": "a" * 64}]}, "inputs[0]"),
    ({"execute": RUN, "inputs": [{"content": "x"}]}, "inputs[0]"),
    ({"execute": RUN, "inputs": [{"path": "a", "file_id": "A" * 64}]}, "inputs[0].file_id"),
    ({"execute": RUN, "inputs": [{"path": "a", "content": "!", "encoding": "base64"}]}, "inputs[0].content"),
    ({"execute": RUN, "inputs": [{"path": "a", "content": "", "encoding": "utf16"}]}, "inputs[0].encoding"),
    ({"execute": RUN, "inputs": [{"path": "a", "content": "", "mode": "999"}]}, "inputs[0].mode"),
    ({"execute": RUN, "inputs": [{"path": "a", "content": "", "mode": 0o7777}]}, "inputs[0].mode"),
    ({"execute": RUN, "inputs": [{"path": "a", "content": ""}] * 2}, "inputs[1].path"),
    (
        {"execute": RUN, "inputs": [{"path": "a", "content": ""}, {"path": "a/b", "content": ""}]},
        "inputs[1].path",
    ),
    (
        {"execute": RUN, "inputs": [{"path": "a/b/c", "content": ""}, {"path": "a/b", "content": ""}]},
        "inputs[1].path",
    ),
    ({"execute": RUN, "inputs": [{"path": str(n), "content": ""} for n in range(1001)]}, "inputs"),
    ({"execute": RUN, "archives": [{"file_id": "x"}]}, "archives[0].file_id"),
    ({"execute": RUN, "checker": "fuzzy"}, "checker"),
    ({"execute": RUN, "outputs": [{"glob": "ok"}, {"glob": "../x"}]}, "outputs[1].glob"),
    ({"execute": RUN, "outputs": [{"glob": "*"}] * 101}, "outputs"),
    ({"execute": RUN, "checker_tolerance": -1}, "checker_tolerance"),
    ({"execute": RUN, "checker_tolerance": 1e300}, "checker_tolerance"),
    ({"execute": RUN, "archives": [{"file_id": "a" * 64, "path": "../up"}]}, "archives[0].path"),
]
UNSAFE_PATHS = (
    "", "/etc/passwd", "../x", "a/../../x", "a/..", ".", "./a", "a//b", "a/", "a\\b", "a\0b", "a\nb",
    "x" * 256, "é" * 128, "/".join(["d" * 100] * 11),
)  # fmt: skip


def refused(gateway: Gateway, body: Any, status: int, code: str) -> dict[str, Any]:
    answer = gateway.http.post("/api/v1/tasks", json=body)
    assert gateway.cluster.seen == [], "a refused task reached the cluster"
    return problem(answer, status, code)


@pytest.mark.parametrize(("body", "field"), INVALID, ids=lambda value: str(value)[:60])
def test_an_invalid_field_is_named(gateway: Gateway, body: dict[str, Any], field: str) -> None:
    told = refused(gateway, body, 422, "invalid")
    assert told["field"] == field, told
    assert told["detail"].startswith(f"{field}: ")


def test_the_detail_says_what_was_expected(gateway: Gateway) -> None:
    told = refused(gateway, {"execute": {"command": "a", "limits": {"wall_time": -1}}}, 422, "invalid")
    assert told["detail"].startswith("execute.limits.wall_time: expected a number ≥ 0")
    told = refused(gateway, {"execute": {"command": "a", "limits": {"wall_time": "1"}}}, 422, "invalid")
    assert told["detail"] == "execute.limits.wall_time: expected number | null, got text"


@pytest.mark.parametrize("path", UNSAFE_PATHS, ids=repr)
def test_unsafe_paths_are_refused(gateway: Gateway, path: str) -> None:
    told = refused(gateway, {"execute": RUN, "inputs": [{"path": path, "content": "x"}]}, 422, "invalid")
    assert told["field"] == "inputs[0].path"


def test_null_means_absent(gateway: Gateway) -> None:
    gateway.submit(outputs=None, checker=None, ttl_after_finished=None, limits={"memory": None})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"execute": RUN, "prioritty": 1}, "prioritty"),
        ({"execute": RUN | {"comand": 1}}, "execute.comand"),
        ({"execute": RUN, "inputs": [{"path": "a", "content": "", "size": 1}]}, "inputs[0].size"),
        ({"compile": {"command": "make", "stdin": "x"}}, "compile.stdin"),
    ],
)
def test_an_unknown_field_is_refused(gateway: Gateway, body: dict[str, Any], field: str) -> None:
    assert refused(gateway, body, 422, "unknown_field")["field"] == field


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"nonsense", b"{'a': 1}", b'{"execute": NaN}', b'{"name": "\xff"}', b'{"name": "\\ud800"}',
        b'{"execute": {"command": "a"}} trailing',
        b'\xef\xbb\xbf{"execute": {"command": "a"}}', b"\x00",
    ],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
def test_malformed_json_is_a_400(gateway: Gateway, body: bytes) -> None:
    answer = gateway.http.post("/api/v1/tasks", content=body, headers={"content-type": "application/json"})
    problem(answer, 400, "malformed")


@pytest.mark.parametrize(
    "body",
    [b"[]", b"[" * 100_000, b'{"ttl_after_finished":' + b"[" * 100_000, b"1", b'"x"', b"null", b"true"],
    ids=lambda body: repr(body[:5]),
)
def test_json_of_another_kind_is_a_422(gateway: Gateway, body: bytes) -> None:
    answer = gateway.http.post("/api/v1/tasks", content=body, headers={"content-type": "application/json"})
    problem(answer, 422, "invalid")


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_another_content_type_is_a_415(gateway: Gateway, kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = gateway.http.post("/api/v1/tasks", content=b'{"execute":{"command":"a"}}', headers=headers)
    problem(answer, 415, "unsupported_media_type")
    answer = gateway.http.post("/api/v1/tasks/batch", content=b'{"tasks":[]}', headers=headers)
    problem(answer, 415, "unsupported_media_type")


def test_a_content_type_with_parameters_is_fine(gateway: Gateway) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    answer = gateway.http.post("/api/v1/tasks", content=b'{"execute":{"command":"a"}}', headers=headers)
    assert answer.status_code == 201


def test_a_command_that_linux_could_not_execute_is_too_large(gateway: Gateway) -> None:
    assert gateway.submit(execute={"command": "x" * (128 * 1024 - 1)})
    gateway.cluster.seen.clear()
    refused(gateway, {"execute": {"command": "x" * (128 * 1024)}}, 413, "too_large")
    refused(gateway, {"execute": {"command": [""] * 200_000}}, 422, "invalid")


def test_expected_output_that_is_too_large_is_said(gateway: Gateway) -> None:
    refused(gateway, {"execute": RUN, "expected_output": "x" * (1024 * 1024 + 1)}, 413, "too_large")


def test_unknown_addresses_and_methods_are_problems(gateway: Gateway) -> None:
    problem(gateway.http.get("/nowhere"), 404, "not_found")
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = gateway.http.get("/nowhere", headers=browser)
    assert (page.status_code, page.text) == (404, gateway.http.get("/").text)
    assert page.headers["content-security-policy"]
    for path in ("/api/v1/nowhere", "/api", "/web/nowhere", "/metrics/nowhere"):
        problem(gateway.http.get(path, headers=browser), 404, "not_found")
    assert gateway.http.post("/nowhere", headers=browser).status_code == 404
    problem(gateway.http.get("/api/v1/nowhere"), 404, "not_found")
    answer = gateway.http.delete("/api/v1/tasks")
    problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize("wait", ["-1", "301", "nan", "inf", "soon", "1e999"])
def test_a_wait_out_of_bounds_is_refused(gateway: Gateway, wait: str) -> None:
    answer = gateway.http.post(f"/api/v1/tasks?wait={wait}", json={"execute": RUN})
    assert problem(answer, 400, "malformed")["field"] == "wait"
    assert gateway.cluster.seen == []


def test_an_unexpected_error_is_told_without_its_text(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.cluster.trouble = lambda command: RuntimeError("the secret inside")
    answer = gateway.http.get("/api/v1/stats")
    body = problem(answer, 500, "internal_error")
    assert "secret" not in answer.text
    (record,) = [record for record in caplog.records if record.name == "khala.gateway"]
    assert body["request_id"] in record.getMessage()
    assert "the secret inside" in str(record.exc_info)
