"""`khala map` without a cluster: its rows, its job log, what it sends and prints."""

from __future__ import annotations

import doctest
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Khala, spawn
from client.gateway_stand_in import Answer, ScriptedGateway, Seen
from wait import wait_until

from khala.cli.map_sources import rows_of
from khala.client import templates

Gateway = Callable[..., ScriptedGateway]


def _output(text: str) -> dict[str, Any]:
    return {"size": len(text), "truncated": False, "head": text, "tail": ""}


class Cluster:
    """Answers as a cluster whose tasks print their command and exit with what is in `codes`."""

    def __init__(self, **codes: int) -> None:
        self.commands: dict[str, str] = {}
        self.codes = codes
        self.cancelled: list[str] = []
        self.never = False
        self._answers: dict[str, Answer] = {}

    def __call__(self, seen: Seen) -> Answer:
        """The answer to a request."""
        if seen.path.endswith("/batch"):
            return self._submit(seen)
        task_id = seen.path.split("/")[4].split("?")[0]
        if seen.path.endswith("/cancel"):
            self.cancelled.append(task_id)
            return Answer(202, {"id": task_id})
        if self.never:
            return Answer(200, {"id": task_id, "state": "running"})
        command = self.commands[task_id]
        code = self.codes.get(command.split()[-1], 0)
        execute = {
            "exit_code": code,
            "signal": None,
            "stdout": _output(f"{command}\nmore\n"),
            "stderr": _output(""),
        }
        state = "failed" if code else "succeeded"
        times = {"started_at": "2026-01-31T12:00:00Z", "finished_at": "2026-01-31T12:00:01.500Z"}
        return Answer(
            200,
            {"id": task_id, "state": state, "exit_reason": "exited", "executor": "e1", **times,
             "result": {"compile": None, "execute": execute}},
        )  # fmt: skip

    def _submit(self, seen: Seen) -> Answer:
        """The same answer to the same key, as for a client that was interrupted before it read the first."""
        key = seen.headers["Idempotency-Key"]
        if key not in self._answers:
            ids = [f"t{len(self.commands) + place}" for place in range(len(seen.body["tasks"]))]
            self.commands |= {
                id: task["execute"]["command"] for id, task in zip(ids, seen.body["tasks"], strict=True)
            }
            self._answers[key] = Answer(200, {"results": [{"id": id} for id in ids]})
        return self._answers[key]


@pytest.fixture
def cluster(gateway: Gateway) -> tuple[Cluster, str]:
    """A scripted cluster and its URL."""
    cluster = Cluster(b=3)
    served = gateway(Answer())
    served.replace(cluster)
    return cluster, served.url


def test_the_templates_examples_hold() -> None:
    assert doctest.testmod(templates).failed == 0


@pytest.mark.parametrize(
    ("words", "commands"),
    [
        (["echo", "{}", ":::", "a b", "c"], ["echo 'a b'", "echo c"]),
        (["echo", ":::", "a", "b", ":::", "1", "2"], ["echo a 1", "echo a 2", "echo b 1", "echo b 2"]),
        (["x {2} {1.}", ":::", "p/a.b.c", ":::", "1"], ["x 1 p/a.b"]),
        (["{//} {/} {/.} {#}", ":::", "p/q/a.txt", "b", "/c"], ["p/q a.txt a 1", ". b b 2", "/ c c 3"]),
        ([":::", "echo 1; true", "date"], ["echo 1; true", "date"]),
        (["x {3} {}", ":::", "$HOME"], ["x {3} '$HOME'"]),
        (["x", ":::"], []),
    ],
)
def test_rows(words: list[str], commands: list[str]) -> None:
    assert [row.command for row in rows_of(words)] == commands


def test_rows_of_files_and_combinations_with_them(tmp_path: Path) -> None:
    file = tmp_path / "values"
    file.write_bytes(b"one\n\xff\nlast")
    assert [row.values for row in rows_of(["x", "::::", str(file)])] == [("one",), ("\udcff",), ("last",)]
    both = rows_of(["x", ":::", "a", "b", "::::", str(file)])
    assert [row.values for row in both][:4] == [("a", "one"), ("a", "\udcff"), ("a", "last"), ("b", "one")]


def test_results_in_order_and_the_number_of_failures(khala: Khala, cluster: tuple[Cluster, str]) -> None:
    ended = khala("map", "--tag", "echo", ":::", "a", "b", "c", url=cluster[1])
    assert ended.out == "".join(f"{value}\techo {value}\n{value}\tmore\n" for value in "abc")
    assert ended.code == 1


def test_json_lines(khala: Khala, cluster: tuple[Cluster, str]) -> None:
    ended = khala("map", "--json", "-j", "1", "echo", ":::", "a", "b", url=cluster[1])
    first, second = (json.loads(line) for line in ended.out.splitlines())
    assert (first["number"], first["values"], first["command"], first["exit_code"]) == (1, ["a"], "echo a", 0)
    assert (second["exit_code"], second["task"]["state"]) == (3, "failed")


def test_a_job_log_is_resumed(khala: Khala, cluster: tuple[Cluster, str], tmp_path: Path) -> None:
    served, url = cluster
    log = tmp_path / "log"
    words = ["map", "--joblog", str(log), "echo", ":::", "a", "b", "c"]
    assert khala(*words, url=url).code == 1
    header, *lines = log.read_text().splitlines()
    assert header.split("\t") == (
        ["Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command"]
    )
    assert sorted(line.split("\t")[0] for line in lines) == ["1", "2", "3"]
    assert {line.split("\t")[3].strip() for line in lines} == {"1.500"}

    kept = [line for line in lines if line[0] != "3"]
    log.write_text("\n".join([header, *kept, "3\tcut off"]))
    served.commands.clear()
    assert khala("map", "--resume", *words[1:], url=url).code == 0
    assert list(served.commands.values()) == ["echo c"]
    served.commands.clear()
    served.codes = {}
    assert khala("map", "--resume-failed", *words[1:], url=url).code == 0
    assert list(served.commands.values()) == ["echo b"]
    served.commands.clear()
    assert khala("map", "--resume-failed", *words[1:], url=url).code == 0
    assert not served.commands


def test_values_from_a_pipe_are_run_as_they_come(cluster: tuple[Cluster, str]) -> None:
    served, url = cluster
    process = spawn(["map", "echo"], {"KHALA_URL": url})
    assert process.stdin is not None
    process.stdin.write("x\n")
    process.stdin.flush()
    wait_until(lambda: list(served.commands.values()) == ["echo x"], what="the first task")
    out, _ = process.communicate("y", timeout=60)
    assert (process.returncode, out) == (0, "echo x\nmore\necho y\nmore\n")


def test_ctrl_c_cancels_what_is_not_finished(cluster: tuple[Cluster, str]) -> None:
    served, url = cluster
    served.never = True
    process = spawn(["map", "sleep", ":::", "1", "2", "3"], {"KHALA_URL": url})
    wait_until(lambda: len(served.commands) == 3, what="the tasks")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, sorted(served.cancelled)) == (130, ["t0", "t1", "t2"]), said
    assert "khala: 3 tasks were cancelled" in said


def test_a_full_quota_is_waited_for(khala: Khala, gateway: Gateway) -> None:
    full = {"error": {"code": "too_many_requests", "detail": "wait", "field": None}}
    cluster, refused = Cluster(), []

    def answer(seen: Seen) -> Answer:
        answered = cluster(seen)
        if seen.path.endswith("/batch") and not refused:
            refused.append(answered.body["results"].pop())
            answered.body["results"].append(full)
        return answered

    served = gateway(Answer())
    served.replace(answer)
    ended = khala("map", "echo", ":::", "a", "b", url=served.url)
    assert (ended.code, ended.out) == (0, "echo a\nmore\necho b\nmore\n")


def test_a_refused_task_is_a_failure_of_its_own(khala: Khala, gateway: Gateway) -> None:
    refusal = {"error": {"code": "invalid", "detail": "no such thing", "field": "execute"}}
    served = gateway(Answer(200, {"results": [refusal]}))
    ended = khala("map", "echo", ":::", "a", url=served.url)
    assert (ended.code, ended.err) == (1, "khala: echo a: no such thing\n")


def test_mistakes(khala: Khala) -> None:
    assert khala("map", "--resume", "echo", ":::", "a").code == 2
    ended = khala("map", "echo", "::::", "/no/such")
    assert (ended.code, "cannot read /no/such" in ended.err) == (125, False)
    assert khala("map", "--dry-run", "echo {}", ":::", "a b").out == "echo 'a b'\n"
    assert "cannot read /no/such" in khala("map", "--dry-run", "echo", "::::", "/no/such").err
