"""KV2's API as its users' scripts use it: `requests`, forms and zip files."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
import requests
from gateway.cluster_model import NOBODY_LEADS, always, fail_times, failed, phase_result, succeeded
from gateway.conftest import TOKEN, Gateway
from gateway.kv2_user import FORM, UNKNOWN_ID, add, added, get, task

from khala.core.commands import ExecutorView, SubmitTasks
from khala.core.task import ExitReason, Phase, Result
from khala.errors import OutcomeUnknown


def test_the_gateway_says_that_it_works(gateway: Gateway) -> None:
    answer = requests.get(f"{gateway.url}/api/test", timeout=60)
    assert (answer.status_code, answer.text) == (200, "Khala gateway server is working.")


def test_a_form_becomes_a_task(gateway: Gateway) -> None:
    answer = add(gateway)
    assert set(answer) == {"result", "id"}
    assert (answer["result"], len(answer["id"])) == (0, 24)
    spec = gateway.cluster.task(answer["id"]).spec
    assert spec.compile is not None and spec.execute is not None
    assert spec.user == 7
    assert [(entry.path, entry.content) for entry in spec.inputs] == [
        ("main.cpp", b"int main() {}\n"),
        ("data/raw.dat", b"a\nb"),
    ]
    assert (spec.compile.shell, spec.compile.limits.wall_time_s) == ("g++ -o main main.cpp\necho done", 10)
    assert (spec.execute.shell, spec.execute.stdin) == ("./main", b"1 2\n")
    assert spec.execute.limits.wall_time_s == 1
    assert spec.expected_output == b"3\n"


def test_a_fresh_task_in_full(gateway: Gateway) -> None:
    id = added(gateway)
    shown = task(gateway, id)
    assert datetime.fromisoformat(shown.pop("add_time")).tzinfo is None
    assert datetime.fromisoformat(shown.pop("report_time")).tzinfo is None
    assert shown == {
        "id": id,
        "user": 7,
        "done": False,
        "status": 0,
        "executor": None,
        "compile": {"source": True, "command": "g++ -o main main.cpp\necho done", "timeout": 10},
        "execute": {
            "input": "1 2\n",
            "data": True,
            "command": "./main",
            "timeout": 1,
            "standard": "3\n",
            "execute_command": "./main",
            "execute_timeout": 1,
            "execute_standard": "3\n",
        },
        "result": None,
    }


def test_the_status_numbers_through_a_life(gateway: Gateway) -> None:
    id, cluster = added(gateway), gateway.cluster

    def seen() -> tuple[int, bool, str | None]:
        shown = task(gateway, id)
        return shown["status"], shown["done"], shown["executor"]

    assert seen() == (0, False, None)
    cluster.assign(id)
    assert seen() == (0, False, "executor-1")
    cluster.lose(id)
    assert seen() == (6, False, None)
    cluster.assign(id)
    assert seen() == (6, False, "executor-1")
    cluster.lose(id)
    cluster.start(id, Phase.COMPILE)
    assert seen() == (1, False, "executor-1")
    cluster.lose(id)
    assert seen() == (6, False, None)
    cluster.start(id, Phase.COMPILE)
    cluster.enter(id, Phase.EXECUTE)
    assert seen() == (3, False, "executor-1")
    compiled = phase_result(stdout=b"compiled", stderr=b"warning")
    cluster.end(id, succeeded(b"3\n", compile=compiled))
    assert seen() == (5, True, None)
    assert task(gateway, id)["result"] == {
        "compile_output": "compiled",
        "compile_error": "warning",
        "execute_output": "3\n",
        "execute_error": "",
    }


@pytest.mark.parametrize(
    ("phase", "reason", "status"),
    [
        (Phase.COMPILE, ExitReason.EXITED, 2),
        (Phase.COMPILE, ExitReason.WALL_TIME_LIMIT, 2),
        (Phase.EXECUTE, ExitReason.EXITED, 4),
        (Phase.EXECUTE, ExitReason.SIGNALED, 4),
        (Phase.EXECUTE, ExitReason.WALL_TIME_LIMIT, 4),
        (Phase.EXECUTE, ExitReason.MEMORY_LIMIT, 4),
        (Phase.COMPILE, ExitReason.SETUP_FAILED, 8),
        (Phase.EXECUTE, ExitReason.EXECUTOR_LOST, 8),
        (Phase.EXECUTE, ExitReason.CRASH_LIMIT, 8),
        (Phase.EXECUTE, ExitReason.INTERNAL_ERROR, 8),
    ],
)
def test_the_status_numbers_of_failures(
    gateway: Gateway, phase: Phase, reason: ExitReason, status: int
) -> None:
    id = added(gateway)
    gateway.cluster.start(id)
    gateway.cluster.end(id, failed(phase, Result(), reason))
    shown = task(gateway, id)
    assert (shown["status"], shown["done"], shown["executor"]) == (status, True, None)


def test_running_out_of_time_is_told_after_the_real_errors(gateway: Gateway) -> None:
    late = ExitReason.WALL_TIME_LIMIT
    id = added(gateway)
    gateway.cluster.start(id, Phase.COMPILE)
    result = Result(compile=phase_result(stderr=b"still busy", reason=late, exit_code=None))
    gateway.cluster.end(id, failed(Phase.COMPILE, result, late))
    assert task(gateway, id)["result"]["compile_error"] == "still busy\nCompile time out."
    id = added(gateway)
    gateway.cluster.start(id)
    result = Result(compile=phase_result(), execute=phase_result(reason=late, exit_code=None))
    gateway.cluster.end(id, failed(Phase.EXECUTE, result, late))
    shown = task(gateway, id)["result"]
    assert (shown["compile_error"], shown["execute_error"]) == ("", "Execution time out.")
    assert get(gateway, id=id, file="execute_error").text == "Execution time out."


def test_cancelling(gateway: Gateway) -> None:
    def cancel(**params: str) -> Any:
        answer = requests.delete(f"{gateway.url}/api/task", params=params, timeout=60)
        assert answer.status_code == 200
        return answer.json()

    id = added(gateway)
    assert cancel(id=id) == {"result": 0}
    gateway.cluster.cancel(id)
    assert (task(gateway, id)["status"], task(gateway, id)["done"]) == (7, True)
    assert cancel(id=id) == {"result": 2}
    assert cancel(id=UNKNOWN_ID) == {"result": 2}
    assert cancel(id="odd") == {"result": 4}
    assert cancel() == {"result": 4}


def test_what_does_not_exist(gateway: Gateway) -> None:
    assert get(gateway, id=UNKNOWN_ID).json() == {"result": 2, "task": None}
    assert get(gateway, id="odd").json() == {"result": 4, "task": None}
    assert get(gateway).json() == {"result": 4, "task": None}
    assert get(gateway, id=UNKNOWN_ID, file="compile_source").status_code == 404
    assert get(gateway, id=added(gateway), file="odd").json() == {"result": 4, "task": None}


@pytest.mark.parametrize(
    ("changed", "result"),
    [
        ({"user": ""}, 4),
        ({"user": "-1"}, 4),
        ({"user": "2147483648"}, 4),
        ({"user": "seven"}, 4),
        ({"user": "7.0"}, 4),
        ({"user": None}, 4),
        ({"compile_timeout": "-1"}, 4),
        ({"compile_timeout": "soon"}, 4),
        ({"execute_timeout": "2147483648"}, 4),
        ({"compile_source_name": "../main.cpp"}, 4),
        ({"compile_source_name": "/etc/passwd"}, 4),
        ({"execute_data_name": "a\\b"}, 4),
        ({"execute_data_name": "a\r\nb"}, 4),
        ({"compile_command": "", "execute_command": ""}, 4),
        ({"compile_command": "a\0b"}, 4),
        ({"execute_command": "x" * 140_000}, 3),
        ({"execute_standard": "x" * 1_100_000}, 3),
    ],
)
def test_bad_forms(gateway: Gateway, changed: dict[str, Any], result: int) -> None:
    assert add(gateway, FORM | changed) == {"result": result, "id": None}
    assert not any(isinstance(command, SubmitTasks) for command in gateway.cluster.seen)


def test_the_bounds_of_numbers_and_absent_texts(gateway: Gateway) -> None:
    id = added(gateway, {"user": "2147483647", "execute_command": "true", "execute_timeout": "0"})
    shown = task(gateway, id)
    assert shown["user"] == 2147483647
    assert shown["compile"] == {"source": False, "command": "", "timeout": 0}
    assert (shown["execute"]["timeout"], shown["execute"]["data"], shown["execute"]["input"]) == (
        0,
        False,
        "",
    )
    spec = gateway.cluster.task(id).spec
    assert spec.compile is None
    assert spec.execute is not None and not spec.execute.limits.wall_time_s


def test_a_body_that_is_no_form(gateway: Gateway) -> None:
    for content, kind in (
        (b'{"user": 1}', "application/json"),
        (b"user=1", "text/plain"),
        (b"nonsense", "multipart/form-data"),
        (b"nonsense", "multipart/form-data; boundary=x"),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
        (b"user=%ff&execute_command=x", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % index for index in range(1000)), "application/x-www-form-urlencoded"),
    ):
        answer = requests.post(
            f"{gateway.url}/api/task", data=content, headers={"content-type": kind}, timeout=60
        )
        assert answer.json() == {"result": 4, "id": None}, kind


def test_members(gateway: Gateway) -> None:
    gateway.cluster.executors = (
        ExecutorView(executor="executor-1", incarnation="i", hostname="host-1", reported_at=0.5),
    )
    assert requests.get(f"{gateway.url}/api/executors", timeout=60).json() == {
        "result": 0,
        "executors": [
            {"id": "executor-1", "hostname": "host-1", "report_time": "1970-01-01T00:00:00.500000"}
        ],
    }
    assert requests.get(f"{gateway.url}/api/judicators", timeout=60).json() == {
        "result": 0,
        "judicators": [{"name": "/judicator/service/j1", "address": "127.0.0.1:4000"}],
    }


def test_an_unavailable_cluster_is_result_1(gateway: Gateway) -> None:
    gateway.cluster.trouble = always(NOBODY_LEADS)
    assert add(gateway) == {"result": 1, "id": None}
    assert get(gateway, id=UNKNOWN_ID).json() == {"result": 1, "task": None}
    for path, empty in (
        ("/api/task/list", {"pages": 0, "tasks": []}),
        ("/api/executors", {"executors": []}),
        ("/api/judicators", {"judicators": []}),
    ):
        answer = requests.get(gateway.url + path, timeout=60)
        assert (answer.status_code, answer.json()) == (200, {"result": 1, **empty})


def test_an_unexpected_error_is_result_1(gateway: Gateway) -> None:
    gateway.cluster.trouble = lambda command: RuntimeError("secret")
    assert add(gateway) == {"result": 1, "id": None}


def test_an_unknown_outcome_is_result_1(gateway: Gateway) -> None:
    gateway.cluster.trouble_after = fail_times(OutcomeUnknown("silence"), 1, SubmitTasks)
    assert add(gateway) == {"result": 1, "id": None}


def test_on_a_secured_cluster_only_the_token_is_new(secured: Gateway) -> None:
    assert requests.post(f"{secured.url}/api/task", data=FORM, timeout=60).status_code == 401
    assert requests.get(f"{secured.url}/api/test", timeout=60).status_code == 401
    headers = {"authorization": f"Bearer {TOKEN}"}
    id = added(secured, headers=headers)
    answer = requests.get(f"{secured.url}/api/task", params={"id": id, "token": TOKEN}, timeout=60)
    assert answer.json()["result"] == 0
    assert (
        requests.get(f"{secured.url}/api/task?token=wrong", params={"id": id}, timeout=60).status_code == 401
    )


def test_a_task_of_the_new_api_is_shown_as_well_as_it_can_be(gateway: Gateway) -> None:
    id = gateway.submit(
        execute={"command": ["echo", "two words"], "limits": {"wall_time": 1.5}},
        inputs=[{"path": "a", "content": "1"}, {"path": "data/b", "content": "2"}],
    )
    shown = task(gateway, id)
    assert shown["execute"]["command"] == "echo 'two words'"
    assert shown["execute"]["timeout"] == 1.5
    assert shown["compile"]["source"] and shown["execute"]["data"]
