"""`khala logs` and the live output of `khala run`, against a real HTTP server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from cli.conftest import Khala
from client.gateway_stand_in import SSE, Answer, ScriptedGateway, Seen, end, event

ID = "0123456789abcdef01234567"
Gateway = Callable[..., ScriptedGateway]
LOG = re.compile(rf"/api/v1/tasks/{ID}/logs/(\w+)/(\w+)\?(.*)")


def task(**changes: Any) -> Answer:
    return Answer(200, {"id": ID, "state": "running", "attempt": 1, "result": None, **changes})


DONE = {"state": "succeeded", "exit_reason": "exited", "result": {"execute": {"exit_code": 3}}}


def serve(gateway: Gateway, logs: Callable[[str, str, str], Answer]) -> ScriptedGateway:
    """A gateway of one task, whose `logs` are by phase, stream and query. It is finished once its output
    was asked for."""
    served = gateway(task())

    def answer(seen: Seen) -> Answer:
        if seen.verb == "POST":
            return Answer(201, {"id": ID})
        if (match := LOG.fullmatch(seen.path)) is not None:
            return logs(match[1], match[2], match[3])
        asked = any(LOG.fullmatch(other.path) for other in served.seen)
        return task(**DONE) if asked else task()

    served.replace(answer)
    return served


def follow(phase: str, stream: str, query: str) -> Answer:
    text = f"{phase} {stream}\n"
    assert query == "follow=1&offset=0&attempt=1"
    size = len(text)
    ended = end(attempt=1, size=size, written=size)
    return Answer(200, raw=event(str(size), attempt=1, offset=0, text=text) + ended, headers=SSE)


def test_run_prints_what_comes(khala: Khala, gateway: Gateway) -> None:
    served = serve(gateway, follow)
    ended = khala("run", "--compile", "make", "--", "tool", url=served.url)
    assert ended.code == 3
    assert sorted(ended.out.splitlines()) == ["compile stdout", "execute stdout"]
    assert sorted(ended.err.splitlines()) == ["compile stderr", "execute stderr"]


def test_a_lost_attempt_is_told_and_the_next_one_followed(khala: Khala, gateway: Gateway) -> None:
    def logs(phase: str, stream: str, query: str) -> Answer:
        attempt = int(query[-1])
        text = f"{stream} of {attempt}\n"
        more = {"state": "pending", "next_attempt": 2} if attempt == 1 else {"next_attempt": None}
        ended = end(attempt=attempt, size=12, written=12 if attempt == 1 else 50, **more)
        return Answer(200, raw=event("12", attempt=attempt, offset=0, text=text) + ended, headers=SSE)

    served = serve(gateway, logs)
    ended = khala("logs", "-f", "--phase", "execute", ID, url=served.url)
    assert (ended.code, ended.out) == (0, "stdout of 1\nstdout of 2\n")
    assert "attempt 1 was lost" in ended.err
    assert "38 bytes of stdout (50 in all) were not kept" in ended.err
    only = khala("logs", "-f", "--attempt", "1", "--stream", "stdout", ID, url=served.url)
    assert only.out == "stdout of 1\n" * 2


def test_logs_prints_what_there_is(khala: Khala, gateway: Gateway) -> None:
    def logs(phase: str, stream: str, query: str) -> Answer:
        assert query == "attempt=1&tail=9"
        text = {"execute": b"\xffout", "compile": b""}[phase] if stream == "stdout" else b"err"
        return Answer(200, raw=text, headers={"X-Khala-Attempt": "1", "X-Khala-Offset": "5"})

    served = serve(gateway, logs)
    lines = khala("logs", "--tail", "9", "--json", ID, url=served.url).out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"phase": "compile", "stream": "stderr", "attempt": 1, "offset": 5, "text": "err"},
        {"phase": "execute", "stream": "stdout", "attempt": 1, "offset": 5, "base64": "/291dA=="},
        {"phase": "execute", "stream": "stderr", "attempt": 1, "offset": 5, "text": "err"},
    ]
    ended = khala("logs", "--tail", "9", "--stream", "stderr", ID, url=served.url)
    assert (ended.out, ended.err) == ("", "errerr")


def test_a_task_that_never_began_has_no_output(khala: Khala, gateway: Gateway) -> None:
    served = gateway(task(state="pending", attempt=0))
    ended = khala("logs", ID, url=served.url)
    assert (ended.code, ended.out, ended.err) == (0, "", "")


@pytest.mark.parametrize(("words", "code"), [(["-f", "--tail", "3"], 2), ([], 4)])
def test_what_cannot_be_shown(khala: Khala, gateway: Gateway, words: list[str], code: int) -> None:
    served = gateway(Answer(404, {"detail": "there is no such task", "code": "not_found"}))
    assert khala("logs", *words, ID, url=served.url).code == code


def test_a_short_run_asks_for_no_stream(khala: Khala, gateway: Gateway) -> None:
    served = gateway(Answer(201, {"id": ID}), task(**DONE))
    assert khala("run", "--", "tool", url=served.url).code == 3
    assert not [seen for seen in served.seen if LOG.fullmatch(seen.path)]


def test_a_short_run_with_much_output_prints_all_of_it(khala: Khala, gateway: Gateway) -> None:
    stdout = {"size": 100, "stored": 100, "truncated": False, "head": "a", "tail": "z"}
    result = {"execute": {"exit_code": 0, "stdout": stdout}}
    whole = Answer(200, raw=b"x" * 100, headers={"X-Khala-Attempt": "1", "X-Khala-Offset": "0"})
    served = gateway(Answer(201, {"id": ID}), task(**{**DONE, "result": result}), whole)
    ended = khala("run", "--", "tool", url=served.url)
    assert (ended.out, ended.err) == ("x" * 100, "")
