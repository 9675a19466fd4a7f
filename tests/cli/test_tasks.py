"""The commands that work with tasks, against a real HTTP server: what they send, print and exit with."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Khala, spawn
from client.gateway_stand_in import Answer, ScriptedGateway
from wait import wait_until

ID = "0123456789abcdef01234567"
Gateway = Callable[..., ScriptedGateway]


def _output(text: str) -> dict[str, Any]:
    return {"size": len(text), "truncated": False, "head": text, "tail": ""}


def _done(**changes: Any) -> dict[str, Any]:
    execute = {
        "exit_code": 0,
        "signal": None,
        "wall_time": 0.1,
        "stdout": _output("out\n"),
        "stderr": _output("err\n"),
    }
    execute.update(changes.pop("execute", {}))
    task = {
        "id": ID,
        "name": "n",
        "state": "succeeded",
        "exit_reason": "exited",
        "executor": "executor-1",
        "attempt": 1,
        "created_at": "2026-01-31T12:00:00.000000Z",
        "result": {"compile": None, "execute": execute},
    }
    return {**task, **changes}


def test_show_says_the_verdict_and_where_it_differs(khala: Khala, gateway: Gateway) -> None:
    difference = {"line": 3, "column": 5, "expected": "4\x1b[2J2", "actual": ""}
    served = gateway(Answer(200, _done(verdict="wrong_answer", difference=difference)))
    shown = khala("show", ID, url=served.url).out
    assert "verdict   wrong answer\n" in shown
    assert "line 3, column 5" in shown
    assert "expected  '4\\x1b[2J2'" in shown
    assert "actual    the end of the output" in shown


def test_run_prints_on_the_right_streams_and_exits_as_the_task(khala: Khala, gateway: Gateway) -> None:
    task = _done(state="failed", execute={"exit_code": 7})
    served = gateway(Answer(201, {"id": ID}), Answer(200, task))
    ended = khala("run", "--limit", "5", "--env", "A=b", "--", "tool", "-v", url=served.url)
    assert (ended.code, ended.out, ended.err) == (7, "out\n", "err\n")
    sent = served.seen[0].body
    assert sent == {"execute": {"command": ["tool", "-v"], "env": {"A": "b"}, "limits": {"wall_time": 5.0}}}


@pytest.mark.parametrize(
    ("task", "code", "said"),
    [
        (_done(), 0, ""),
        (_done(state="failed", exit_reason="signaled", execute={"exit_code": None, "signal": 11}), 139, ""),
        (
            _done(state="failed", exit_reason="wall_time_limit", execute={"exit_code": None, "signal": 9}),
            124,
            "wall time limit",
        ),
        (_done(state="failed", exit_reason="executor_lost", result=None), 125, "executor lost"),
        (_done(state="failed", exit_reason="setup_failed", reason="no room", result=None), 125, "no room"),
        (_done(state="cancelled", exit_reason="cancelled"), 125, "cancelled"),
        (
            _done(state="failed", result={"compile": {"exit_code": 1, "stderr": _output("bad\n")}}),
            1,
            "bad",
        ),
    ],
)
def test_run_exits_as_documented(
    khala: Khala, gateway: Gateway, task: dict[str, Any], code: int, said: str
) -> None:
    served = gateway(Answer(201, {"id": ID}), Answer(200, task))
    ended = khala("run", "--", "true", url=served.url)
    assert ended.code == code
    assert said in ended.err


def test_run_says_what_is_left_out_of_the_output(khala: Khala, gateway: Gateway) -> None:
    cut = {"size": 1000, "truncated": True, "head": "begin", "tail": "end"}
    served = gateway(Answer(201, {"id": ID}), Answer(200, _done(execute={"stdout": cut})))
    ended = khala("run", "--", "true", url=served.url)
    assert ended.out == "beginend"
    assert "992 bytes of stdout (1000 in all) are left out" in ended.err


def test_ctrl_c_cancels_the_task(gateway: Gateway) -> None:
    running = Answer(200, _done(state="running", result=None))
    served = gateway(Answer(201, {"id": ID}), *[running] * 100_000)
    process = spawn(["run", "-n", "--", "sleep", "60"], {"KHALA_URL": served.url})
    wait_until(lambda: len(served.seen) > 2, what="the command to wait for its task")
    served.replace(
        lambda seen: (
            Answer(202, {"id": ID})
            if seen.path.endswith("/cancel")
            else Answer(200, _done(state="cancelled", exit_reason="cancelled", result=None))
        )
    )
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == f"khala: cancelling task {ID}\n"
    assert f"/api/v1/tasks/{ID}/cancel" in [seen.path for seen in served.seen]


def test_run_sends_its_standard_input(gateway: Gateway) -> None:
    served = gateway(Answer(201, {"id": ID}), Answer(200, _done()))
    process = spawn(["run", "--", "cat"], {"KHALA_URL": served.url})
    process.communicate("ä\n", timeout=60)
    assert process.returncode == 0
    assert served.seen[0].body["execute"]["stdin"] == "ä\n"


def test_submit_takes_files_and_a_compile_command(khala: Khala, gateway: Gateway, tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text("int main(void) {}\n")
    served = gateway(Answer(201, {"id": ID}))
    words = ["--name", "n", "--compile", "cc main.c", "--compile-limit", "9", "--input-file", str(source)]
    ended = khala(
        "submit", *words, "--cpus", "2", "--memory", "1G", "--key", "k", "--", "./a.out", url=served.url
    )
    assert (ended.code, ended.out) == (0, f"{ID}\n")
    (seen,) = served.seen
    assert seen.headers["Idempotency-Key"] == "k"
    assert seen.body["compile"] == {"command": "cc main.c", "env": {}, "limits": {"wall_time": 9.0}}
    assert seen.body["inputs"][0] == {
        "path": "main.c",
        "content": "aW50IG1haW4odm9pZCkge30K",
        "encoding": "base64",
        "mode": "644",
    }
    assert seen.body["resources"] == {"cpus": 2.0, "memory": 1 << 30}


def test_submit_says_where_and_how_it_runs_and_for_whom(khala: Khala, gateway: Gateway) -> None:
    served = gateway(Answer(201, {"id": ID}))
    words = ["--constraint", "gpu=a100", "--constraint", "zone=b=c", "--isolation", "strict", "--network"]
    assert khala("submit", *words, "--user-id", "42", "--", "true", url=served.url).code == 0
    (seen,) = served.seen
    command = {"command": ["true"], "env": {}, "limits": {}}
    assert seen.body == {
        "constraints": {"gpu": "a100", "zone": "b=c"},
        "isolation": "strict",
        "network": True,
        "user": 42,
        "execute": command,
    }


@pytest.mark.parametrize("text", ["1\n2\n", "ä", ""])
@pytest.mark.parametrize("checker", ["", "tokens"])
def test_submit_sends_what_is_expected_even_if_it_is_nothing(
    khala: Khala, gateway: Gateway, tmp_path: Path, text: str, checker: str
) -> None:
    (tmp_path / "expected").write_text(text)
    served = gateway(Answer(201, {"id": ID}))
    words = ["--expected-output", str(tmp_path / "expected"), *(["--checker", checker] if checker else [])]
    assert khala("submit", *words, "--", "true", url=served.url).code == 0
    body = served.seen[0].body
    assert (body["expected_output"], body.get("checker", "")) == (text, checker)


def test_what_is_expected_must_be_text(khala: Khala, tmp_path: Path) -> None:
    (tmp_path / "expected").write_bytes(b"\xff")
    ended = khala("submit", "--expected-output", str(tmp_path / "expected"), "--", "true")
    assert (ended.code, "is not text in UTF-8" in ended.err) == (2, True)


@pytest.mark.parametrize("command", [["run"], ["submit"], ["map"], ["job", "submit"]])
def test_every_way_to_make_a_task_has_its_options(khala: Khala, command: list[str]) -> None:
    told = khala(*command, "--help").out
    for option in ("--constraint", "--isolation", "--network", "--expected-output", "--checker", "--user-id"):
        assert option in told
    assert "512M (MiB)" in " ".join(told.split())


def test_sizes_are_told_in_the_unit_in_which_they_are_given(khala: Khala, gateway: Gateway) -> None:
    task = _done(execute={"max_rss": 3 << 19})
    assert "at most 1.5 MiB" in khala("show", ID, url=gateway(Answer(200, task)).url).out


def test_submit_sends_a_list_as_a_batch(khala: Khala, gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "tasks.json"
    file.write_text(json.dumps([{"execute": {"command": "true"}}, {}]))
    results = [{"id": ID}, {"error": {"code": "invalid", "detail": "give a command"}}]
    served = gateway(Answer(200, {"results": results}))
    ended = khala("submit", "--file", str(file), url=served.url)
    assert (ended.code, ended.out) == (4, f"{ID}\n")
    assert ended.err == "khala: task 2 of 2: give a command\n"
    assert served.seen[0].path == "/api/v1/tasks/batch"


def test_show_prints_the_task(khala: Khala, gateway: Gateway) -> None:
    served = gateway(Answer(200, _done()))
    ended = khala("show", ID, url=served.url)
    assert ended.out.startswith(f"{ID}  succeeded (exited)  n\n")
    assert "execute   exit code 0, 0.100 s" in ended.out
    assert json.loads(khala("show", ID, "--json", url=served.url).out) == _done()


def test_ls_prints_a_table_and_the_way_on(khala: Khala, gateway: Gateway) -> None:
    served = gateway(Answer(200, {"tasks": [_done()], "next_page_token": "more"}))
    ended = khala("ls", "--state", "succeeded", "--limit", "1", url=served.url)
    assert ID in ended.out
    assert "TASK" in ended.out
    assert ended.err == "more: khala ls --page-token more\n"
    assert served.seen[0].path == "/api/v1/tasks?page_size=1&state=succeeded"
    shown = json.loads(khala("ls", "--json", url=served.url).out)
    assert shown["tasks"][0]["id"] == ID


def test_cancel_goes_on_after_a_refusal(khala: Khala, gateway: Gateway) -> None:
    served = gateway(Answer(409, {"detail": "finished already", "code": "finished"}), Answer(202, {"id": ID}))
    ended = khala("cancel", "f" * 24, ID, url=served.url)
    assert ended.code == 4
    assert ended.out == f"{ID}  cancel requested\n"
    assert "finished already" in ended.err


def test_members_are_listed(khala: Khala, gateway: Gateway) -> None:
    executor = {
        "id": "executor-1",
        "hostname": "h",
        "slots": 4,
        "running": [ID],
        "load": 0.5,
        "labels": {"z": "a"},
    }
    served = gateway(Answer(200, {"executors": [executor]}))
    assert "1/4" in khala("executors", url=served.url).out
    served = gateway(
        Answer(200, {"judicators": [{"name": "judicator-1", "address": "h:4000", "leader": True}]})
    )
    assert "leads" in khala("judicators", url=served.url).out
    joins = {"name": "judicator-2", "address": "h:4000", "replica_state": "secondary", "voting": False}
    served = gateway(Answer(200, {"judicators": [joins]}))
    assert "secondary, no vote" in khala("judicators", url=served.url).out


def test_get_saves_what_is_asked_for(khala: Khala, gateway: Gateway, tmp_path: Path) -> None:
    files = [
        {"path": path, "size": 3, "sha256": hashlib.sha256(b"one").hexdigest(), "mode": "644"}
        for path in ("a", "d/b")
    ]
    listed = Answer(200, {"state": "succeeded", "outputs": files})
    served = gateway(listed, Answer(200, raw=b"one"))
    ended = khala("get", ID, "d/b", "-o", str(tmp_path / "in"), url=served.url)
    assert (ended.code, ended.out) == (0, f"{tmp_path}/in/d/b\n")
    assert (tmp_path / "in/d/b").read_bytes() == b"one"
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["d"]
    ended = khala("get", ID, "c", url=gateway(listed).url)
    assert ended.code == 4 and "no output file 'c'" in ended.err
    ended = khala("get", ID, url=gateway(Answer(200, {"state": "failed", "outputs": []})).url)
    assert ended.code == 0 and "no output files" in ended.err


def test_run_asks_for_outputs_and_says_that_there_are_some(khala: Khala, gateway: Gateway) -> None:
    kept = [{"path": "out/a", "size": 1, "sha256": "0" * 64, "mode": "644"}]
    served = gateway(Answer(201, {"id": ID}), Answer(200, _done(outputs=kept)))
    ended = khala("run", "--output", "out/**", "--output", "log", "--", "make", url=served.url)
    assert served.seen[0].body["outputs"] == [{"glob": "out/**"}, {"glob": "log"}]
    assert f"1 output files: khala get {ID}" in ended.err


def test_explain_names_what_keeps_each_executor(khala: Khala, gateway: Gateway) -> None:
    executors = [{"id": "e1", "obstacles": ["has 2 of 8 cpus", "is draining"]}, {"id": "e2", "obstacles": []}]
    reason = "waits for room; about 3,200 tasks of its owner come before it"
    told = {"id": ID, "state": "pending", "reason": reason, "executors": executors, "usage": {}}
    shown = khala("explain", ID, url=gateway(Answer(200, told)).url).out
    assert reason in shown
    assert "has 2 of 8 cpus; is draining" in shown and "could take it" in shown


def test_explain_shows_use_beside_limits(khala: Khala, gateway: Gateway) -> None:
    usage = {
        "execute": {"memory": {"used": 1000000, "limit": 512 << 20}, "processes": {"used": None, "limit": 5}}
    }
    told = {"id": ID, "state": "failed", "exit_reason": "memory_limit", "usage": usage}
    shown = khala("explain", ID, url=gateway(Answer(200, told)).url).out
    assert "failed (memory limit)" in shown
    assert "1000000 bytes" in shown and "512 MiB" in shown and "processes" not in shown
