"""The client against a real HTTP server: what it sends, when it tries again, what it raises."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from client.gateway_stand_in import Answer, ScriptedGateway, serving
from services.processes import free_ports

from khala.client import Client
from khala.client.views import FINISHED, STATES, task_view
from khala.core.task import TERMINAL, State
from khala.errors import Fault, OutcomeUnknown, Refusal, Unavailable

TASK = {"execute": {"command": ["echo", "hello"]}}
ID = "0123456789abcdef01234567"


def test_submit_sends_the_token_and_a_key() -> None:
    with (
        serving(ScriptedGateway(Answer(201, {"id": ID}))) as gateway,
        Client(gateway.url, "secret") as client,
    ):
        assert client.submit(TASK) == ID
    (seen,) = gateway.seen
    assert (seen.verb, seen.path, seen.body) == ("POST", "/api/v1/tasks", TASK)
    assert seen.headers["Authorization"] == "Bearer secret"
    assert len(seen.headers["Idempotency-Key"]) == 32


def test_a_lost_answer_is_asked_for_again_with_the_same_key() -> None:
    script = ScriptedGateway(Answer(drop=True), Answer(200, {"id": ID}))
    with serving(script) as gateway, Client(gateway.url) as client:
        assert client.submit(TASK) == ID
    first, second = gateway.seen
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.body == second.body


def test_retry_after_is_honoured() -> None:
    busy = Answer(503, {"detail": "no leader"}, {"Retry-After": "1"})
    started = time.monotonic()
    with serving(ScriptedGateway(busy, Answer(201, {"id": ID}))) as gateway, Client(gateway.url) as client:
        assert client.submit(TASK) == ID
    assert 0.9 < time.monotonic() - started < 20


def test_patience_ends_with_the_servers_words() -> None:
    busy = Answer(503, {"detail": "no leader is elected"}, {"Retry-After": "1"})
    script = ScriptedGateway(busy)
    with serving(script) as gateway, Client(gateway.url, patience_s=0.0) as client:
        with pytest.raises(Unavailable, match="no leader is elected") as caught:
            client.stats()
    assert caught.value.retry_after_s == 1.0
    assert len(script.seen) == 1


def test_a_refusal_carries_code_and_field_and_is_not_tried_again() -> None:
    problem = {"detail": "execute: give a command", "code": "invalid", "field": "execute"}
    with serving(ScriptedGateway(Answer(422, problem))) as gateway, Client(gateway.url) as client:
        with pytest.raises(Refusal, match="give a command") as caught:
            client.submit({})
    assert (caught.value.code, caught.value.field) == ("invalid", "execute")
    assert len(gateway.seen) == 1


def test_a_broken_gateway_is_a_fault_that_names_the_request() -> None:
    problem = {"detail": "something broke", "request_id": "r-77"}
    with serving(ScriptedGateway(Answer(500, problem))) as gateway, Client(gateway.url) as client:
        with pytest.raises(Fault, match="r-77"):
            client.stats()


def test_an_answer_that_never_comes_is_an_unknown_outcome() -> None:
    with (
        serving(ScriptedGateway(Answer(drop=True))) as gateway,
        Client(gateway.url, patience_s=3.0) as client,
    ):
        with pytest.raises(OutcomeUnknown, match="no answer from"):
            client.submit(TASK)
    assert len(gateway.seen) > 1


def test_nobody_there_is_unavailable() -> None:
    (port,) = free_ports(1)
    with Client(f"http://127.0.0.1:{port}", patience_s=0.2) as client:
        with pytest.raises(Unavailable, match=f"cannot reach http://127.0.0.1:{port}"):
            client.stats()


def test_a_url_without_a_scheme_is_refused() -> None:
    with pytest.raises(Refusal, match="http://127"):
        Client("localhost:7000")


def test_wait_asks_until_the_task_is_finished() -> None:
    running = Answer(200, {"id": ID, "state": "running"})
    done = Answer(200, {"id": ID, "state": "succeeded", "exit_reason": "exited"})
    with serving(ScriptedGateway(running, running, done)) as gateway, Client(gateway.url) as client:
        assert client.wait(ID).exit_reason == "exited"
    assert len(gateway.seen) == 3
    assert gateway.seen[0].path == f"/api/v1/tasks/{ID}?wait=20.000"


def test_wait_gives_up_after_its_time() -> None:
    with serving(ScriptedGateway(Answer(200, {"id": ID, "state": "pending"}))) as gateway:
        with Client(gateway.url) as client, pytest.raises(Unavailable, match="still pending after 0 s"):
            client.wait(ID, timeout_s=0)


def test_filters_and_pages_reach_the_server() -> None:
    page = Answer(200, {"tasks": [{"id": ID, "state": "pending"}], "next_page_token": "next"})
    with serving(ScriptedGateway(page)) as gateway, Client(gateway.url) as client:
        found = client.list(page_size=5, state="pending", name_prefix="")
    assert found.next_page_token == "next"
    assert found.tasks[0].id == ID
    assert gateway.seen[0].path == "/api/v1/tasks?page_size=5&state=pending"


def test_submit_many_answers_in_order() -> None:
    results = [{"id": ID}, {"error": {"code": "invalid", "detail": "no"}}]
    with (
        serving(ScriptedGateway(Answer(200, {"results": results}))) as gateway,
        Client(gateway.url) as client,
    ):
        assert client.submit_many([TASK, {}]) == results
    assert gateway.seen[0].body == {"tasks": [TASK, {}]}


def test_a_finished_task_is_read_whole() -> None:
    stdout = {"size": 5, "truncated": False, "head": "h\ufffdllo", "head_base64": "aP9sbG8=", "tail": ""}
    task = task_view(
        {
            "id": ID,
            "state": "failed",
            "created_at": "2026-01-31T12:00:00.250000Z",
            "result": {"compile": None, "execute": {"exit_code": 3, "wall_time": 0.5, "stdout": stdout}},
        }
    )
    assert task.finished
    assert task.compile is None
    assert task.execute is not None
    assert (task.execute.exit_code, task.execute.wall_time_s) == (3, 0.5)
    assert task.execute.stdout.head == b"h\xffllo"
    assert task.created_at is not None
    assert task.created_at.timestamp() == 1769860800.25


def test_states_are_those_of_the_core() -> None:
    assert set(STATES) == set(State)
    assert set(FINISHED) == set(TERMINAL)


REPORT = b"all is well\n"


def _listed(path: str = "out/report.txt", digest: str = hashlib.sha256(REPORT).hexdigest()) -> Answer:
    file = {"path": path, "size": len(REPORT), "sha256": digest, "mode": "755"}
    return Answer(200, {"state": "succeeded", "outputs": [file]})


def test_an_output_file_is_saved_whole_with_its_mode(tmp_path: Path) -> None:
    script = ScriptedGateway(_listed("out/é %.txt"), Answer(200, raw=REPORT))
    with serving(script) as gateway, Client(gateway.url) as client:
        (file,) = client.outputs(ID)
        saved = client.save_output(ID, file, tmp_path)
    assert script.seen[1].path == f"/api/v1/tasks/{ID}/outputs/out/%C3%A9%20%25.txt"
    assert saved == tmp_path / "out" / "é %.txt"
    assert saved.read_bytes() == REPORT
    assert saved.stat().st_mode & 0o100
    assert [path.name for path in saved.parent.iterdir()] == ["é %.txt"]


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", "a//b", "./a", "a\\b", "a\0b"])
def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_asked(tmp_path: Path, path: str) -> None:
    script = ScriptedGateway(_listed(path))
    with serving(script) as gateway, Client(gateway.url) as client:
        with pytest.raises(Refusal, match="no path below a folder"):
            client.save_output(ID, client.outputs(ID)[0], tmp_path / "in")
    assert len(script.seen) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(200, raw=REPORT[:-1]), Unavailable),
        (Answer(200, raw=b"X" + REPORT[1:]), Refusal),
        (Answer(404, {"detail": "gone", "code": "not_found"}), Refusal),
        (Answer(drop=True), Unavailable),
    ],
)
def test_what_is_not_whole_is_not_saved(tmp_path: Path, answer: Answer, error: type[Exception]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.txt").write_text("before")
    with serving(ScriptedGateway(_listed(), answer)) as gateway, Client(gateway.url) as client:
        with pytest.raises(error):
            client.save_output(ID, client.outputs(ID)[0], tmp_path)
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["before"]
