"""A task's output over HTTP: whole, by range, and as it comes."""

from __future__ import annotations

import base64
import json
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from gateway.cluster_model import fail_times, failed, phase_result, sha256
from gateway.conftest import TOKEN, Gateway, problem
from wait import wait_until

from khala.core.commands import GetOutput
from khala.core.task import ExitReason, Outcome, Phase, Result, StreamCapture
from khala.errors import Unavailable
from khala.gateway import following
from khala.gateway.outputs import Span, span_of

LARGE = random.Random(3).randbytes(1_300_000)


def log_of(id: str, stream: str = "stdout", phase: str = "execute") -> str:
    return f"/api/v1/tasks/{id}/logs/{phase}/{stream}"


def ended(stdout: StreamCapture) -> Outcome:
    part = phase_result()
    done = Result(execute=type(part)(exit_reason=part.exit_reason, exit_code=0, stdout=stdout))
    return Outcome(exit_reason=ExitReason.EXITED, succeeded=True, phase=Phase.EXECUTE, result=done)


def stored(data: bytes, written: int = 0) -> StreamCapture:
    size = written or len(data)
    return StreamCapture(
        size=size, head=data[:10], tail=data[-10:], truncated=size > len(data), stored_bytes=len(data),
        sha256=sha256(data),
    )  # fmt: skip


@pytest.fixture
def large(gateway: Gateway) -> str:
    """A task with a large output, all of it stored."""
    id = gateway.submit()
    gateway.cluster.start(id)
    gateway.cluster.write(id, LARGE)
    gateway.cluster.end(id, ended(stored(LARGE)))
    return id


# --- bytes ----------------------------------------------------------------------------------------


def test_a_large_output_is_whole(gateway: Gateway, large: str) -> None:
    answer = gateway.http.get(log_of(large))
    assert (answer.status_code, answer.content) == (200, LARGE)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    head = gateway.http.head(log_of(large))
    for each in (answer, head):
        assert each.headers["content-length"] == each.headers["x-khala-written"] == str(len(LARGE))
        assert (each.headers["x-khala-attempt"], each.headers["x-khala-complete"]) == ("1", "true")
    lengths = [c.length for c in gateway.cluster.seen if isinstance(c, GetOutput)]
    assert max(lengths) <= 512 * 1024


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [("bytes=0-9", 0, 10), ("bytes=100-", 100, 1_300_000), ("bytes=-5", 1_299_995, 1_300_000),
     ("bytes=524280-524300", 524_280, 524_301), ("bytes=1299999-9999999", 1_299_999, 1_300_000)],
)  # fmt: skip
def test_a_range(gateway: Gateway, large: str, asked: str, begin: int, end: int) -> None:
    answer = gateway.http.get(log_of(large), headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, LARGE[begin:end])
    assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/1300000"


def test_a_range_that_is_not_there(gateway: Gateway, large: str) -> None:
    answer = gateway.http.get(log_of(large), headers={"Range": "bytes=1300000-"})
    problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */1300000"


@pytest.mark.parametrize("size", [0, 1, 10])
def test_ranges_as_the_rfc_has_them(size: int) -> None:
    whole = Span(0, size)
    for ignored in (None, "", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "lines=0-1", "bytes=a-b"):
        assert span_of(ignored, size) == whole
    assert span_of("bytes=0-", size) == (Span(0, size, partial=True) if size else None)
    assert span_of("bytes=-0", size) is None
    assert span_of(f"bytes={size}-", size) is None
    assert span_of("bytes=-99", size) == (Span(0, size, partial=True) if size else None)


def test_offset_and_tail(gateway: Gateway, large: str) -> None:
    def read(**query: int) -> bytes:
        answer = gateway.http.get(log_of(large), params=query)
        assert answer.status_code == 200
        return answer.content

    assert read(offset=1_299_990) == read(tail=10) == LARGE[-10:]
    assert read(offset=5_000_000) == read(tail=0) == b""
    assert read(tail=5_000_000) == LARGE
    answer = gateway.http.get(log_of(large), params={"offset": 100}, headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.content) == (206, LARGE[100:110])


def test_a_short_output_comes_from_the_result(gateway: Gateway) -> None:
    id = gateway.submit()
    gateway.cluster.succeed(id, b"short")
    assert gateway.http.get(log_of(id)).content == b"short"
    assert gateway.http.get(log_of(id), params={"tail": 2}).content == b"rt"
    assert gateway.http.get(log_of(id, "stderr")).content == b""
    assert gateway.http.get(log_of(id, phase="compile")).content == b""


def test_what_was_not_kept_is_told(gateway: Gateway) -> None:
    id = gateway.submit()
    gateway.cluster.start(id)
    gateway.cluster.write(id, b"0123456789")
    gateway.cluster.end(id, ended(stored(b"0123456789", written=99)))
    answer = gateway.http.get(log_of(id))
    assert (answer.content, answer.headers["x-khala-written"]) == (b"0123456789", "99")
    shown = gateway.http.get(f"/api/v1/tasks/{id}").json()["result"]["execute"]["stdout"]
    assert (shown["size"], shown["stored"], shown["truncated"]) == (99, 10, True)
    assert shown["sha256"] == sha256(b"0123456789")


def test_a_running_task_and_attempts_apart(gateway: Gateway) -> None:
    id = gateway.submit()
    assert gateway.http.get(log_of(id)).content == b""
    gateway.cluster.start(id)
    gateway.cluster.write(id, b"first")
    answer = gateway.http.get(log_of(id), headers={"Range": "bytes=1-2"})
    assert (answer.content, answer.headers["content-range"]) == (b"ir", "bytes 1-2/*")
    assert answer.headers["x-khala-complete"] == "false"
    gateway.cluster.lose(id)
    gateway.cluster.start(id)
    gateway.cluster.write(id, b"second")
    assert gateway.http.get(log_of(id)).content == b"second"
    old = gateway.http.get(log_of(id), params={"attempt": 1})
    assert (old.content, old.headers["x-khala-complete"]) == (b"first", "true")


def test_what_cannot_be_read(gateway: Gateway, secured: Gateway, large: str) -> None:
    problem(gateway.http.get(log_of("f" * 24)), 404, "not_found")
    problem(gateway.http.get(log_of("x")), 400, "malformed")
    problem(gateway.http.get(log_of(large, phase="link")), 404, "not_found")
    problem(gateway.http.get(log_of(large, "stdin")), 404, "not_found")
    problem(gateway.http.get(log_of(large), params={"attempt": 2}), 404, "not_found")
    for query in ({"attempt": 0}, {"offset": -1}, {"tail": "x"}, {"follow": "maybe"}, {"other": 1},
                  {"tail": 1, "offset": 1}):  # fmt: skip
        problem(gateway.http.get(log_of(large), params=query), 400, "malformed")
    bad = {"Last-Event-ID": "1x"}
    problem(gateway.http.get(log_of(large), params={"follow": 1}, headers=bad), 400, "malformed")
    problem(gateway.http.get(log_of("f" * 24), params={"follow": 1}), 404, "not_found")
    problem(secured.http.get(log_of(large)), 401, "unauthorized")
    answer = secured.http.get(log_of(large), headers={"Authorization": f"Bearer {TOKEN}"})
    problem(answer, 404, "not_found")


def test_a_judicator_that_is_away_for_a_moment(gateway: Gateway, large: str) -> None:
    gateway.cluster.trouble = fail_times(Unavailable("no"), 1, GetOutput)
    problem(gateway.http.get(log_of(large)), 503, "unavailable")
    assert gateway.http.get(log_of(large)).content == LARGE


def test_kv2_gives_it_whole(gateway: Gateway, large: str) -> None:
    def download(id: str, file: str) -> bytes:
        answer = gateway.http.get("/api/task", params={"id": id, "file": file})
        assert answer.headers["content-length"] == str(len(answer.content))
        return answer.content

    assert download(large, "execute_output") == LARGE
    task = gateway.http.get("/api/task", params={"id": large, "no_truncate": 1}).json()["task"]
    assert task["result"]["execute_output"] == LARGE.decode(errors="replace")
    id = gateway.submit()
    gateway.cluster.start(id)
    gateway.cluster.write(id, b"0123456789" * 3, stream="stderr")
    part = phase_result(reason=ExitReason.WALL_TIME_LIMIT, exit_code=None)
    stderr = stored(b"0123456789" * 3, written=50)
    part = type(part)(exit_reason=part.exit_reason, stderr=stderr)
    gateway.cluster.end(id, failed(Phase.EXECUTE, Result(execute=part), ExitReason.WALL_TIME_LIMIT))
    said = download(id, "execute_error")
    assert said == (b"0123456789" * 3 + b"\n... 10 bytes left out ...\n0123456789\nExecution time out.")


# --- follow ---------------------------------------------------------------------------------------


@dataclass
class Event:
    kind: str
    id: str
    data: dict[str, Any]

    @property
    def content(self) -> bytes:
        if "base64" in self.data:
            return base64.b64decode(self.data["base64"])
        return str(self.data["text"]).encode()


def events_of(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events as a browser reads them."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if not line and "data" in fields:
            yield Event(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
        fields = fields | {name: value} if line else {}


@contextmanager
def followed(gateway: Gateway, id: str, *, last: str = "", **query: Any) -> Iterator[Iterator[Event]]:
    headers = {"Last-Event-ID": last} if last else {}
    with gateway.http.stream("GET", log_of(id), params={"follow": 1, **query}, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield events_of(answer.iter_lines())


def test_follow_from_before_the_start_to_the_end(gateway: Gateway) -> None:
    id = gateway.submit()
    with followed(gateway, id) as events:
        gateway.cluster.start(id)
        gateway.cluster.write(id, b"one\n")
        first = next(events)
        assert (first.kind, first.id, first.data) == (
            "output", "4@1", {"attempt": 1, "offset": 0, "text": "one\n"}
        )  # fmt: skip
        gateway.cluster.write(id, b"two\n")
        assert next(events).data == {"attempt": 1, "offset": 4, "text": "two\n"}
        gateway.cluster.end(id, ended(StreamCapture(size=12, head=b"one\ntwo\nlast")))
        assert next(events).content == b"last"
        end = next(events)
        assert end.kind == "end"
        assert end.data == {
            "attempt": 1, "state": "succeeded", "size": 12, "written": 12, "lost": False,
            "next_attempt": None,
        }  # fmt: skip
        assert list(events) == []


def test_a_lost_attempt_ends_and_names_the_next(gateway: Gateway) -> None:
    id = gateway.submit()
    gateway.cluster.start(id)
    gateway.cluster.write(id, b"first")
    with followed(gateway, id) as events:
        assert next(events).content == b"first"
        gateway.cluster.lose(id)
        end = next(events).data
        assert (end["lost"], end["attempt"], end["next_attempt"], end["state"]) == (True, 1, 2, "pending")
    with followed(gateway, id, attempt=2) as events:
        gateway.cluster.start(id)
        gateway.cluster.write(id, b"second")
        event = next(events)
        assert (event.content, event.id) == (b"second", "6")
    with followed(gateway, id, last="3@1") as events:
        assert next(events).content == b"st"
        assert next(events).data["next_attempt"] == 2


@pytest.mark.parametrize("seed", range(5))
def test_resumed_anywhere_nothing_is_lost_or_doubled(gateway: Gateway, seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choice("ab\nä€𝄞") for _ in range(100_000)).encode()
    id = gateway.submit()
    gateway.cluster.start(id)
    at = 0
    while at < len(text):
        size = rng.randint(1, 60_000)
        gateway.cluster.write(id, text[at : at + size])
        at += size
    gateway.cluster.end(id, ended(stored(text)))
    seen, last = b"", ""
    while True:
        with followed(gateway, id, last=last) as events:
            for event, _ in zip(events, range(rng.randint(1, 3)), strict=False):
                if event.kind == "end":
                    assert seen == text
                    return
                assert event.data["offset"] == len(seen)
                assert "text" in event.data, "a character was split"
                seen += event.content
                last = event.id


def test_binary_output_is_base64(gateway: Gateway, large: str) -> None:
    with followed(gateway, large, attempt=1) as events:
        found = list(events)
    assert b"".join(event.content for event in found[:-1]) == LARGE
    assert any("base64" in event.data for event in found)
    assert found[-2].id == str(len(LARGE))


@pytest.mark.parametrize(
    ("data", "whole", "held"),
    [(b"", b"", b""), (b"a", b"a", b""), ("é".encode(), "é".encode(), b""), (b"a\xc3", b"a", b"\xc3"),
     (b"a\xe2\x82", b"a", b"\xe2\x82"), (b"\xf0\x9d\x84", b"", b"\xf0\x9d\x84"), (b"a\xff", b"a\xff", b""),
     (b"\xc3a", b"\xc3a", b""), (b"\x80\x80\x80\x80", b"\x80\x80\x80\x80", b"")],
)  # fmt: skip
def test_characters_are_kept_whole(data: bytes, whole: bytes, held: bytes) -> None:
    assert following._whole_characters(data, over=False) == (whole, held)
    assert following._whole_characters(data, over=True) == (data, b"")


def test_half_a_character_waits_for_its_other_half(gateway: Gateway) -> None:
    id = gateway.submit()
    gateway.cluster.start(id)
    gateway.cluster.write(id, b"a\xe2\x82")
    with followed(gateway, id) as events:
        assert next(events).content == b"a"
        asked = len(gateway.cluster.seen)
        gateway.cluster.write(id, b"\xac")
        assert next(events).data == {"attempt": 1, "offset": 1, "text": "€"}
        assert len(gateway.cluster.seen) - asked < 5
        gateway.cluster.write(id, b"\xe2")
        gateway.cluster.end(id, ended(StreamCapture(size=5, head=b"a\xe2\x82\xac\xe2")))
        assert next(events).content == b"\xe2"


def test_tail_and_offset_begin_later(gateway: Gateway) -> None:
    id = gateway.submit()
    gateway.cluster.succeed(id, b"0123456789")
    for query in ({"tail": 3}, {"offset": 7}):
        with followed(gateway, id, **query) as events:
            assert next(events).data == {"attempt": 1, "offset": 7, "text": "789"}
    with followed(gateway, id, tail=3, last="9@1") as events:
        assert next(events).content == b"9"


def test_silence_is_filled(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "IDLE_S", 0.1)
    id = gateway.submit()
    with gateway.http.stream("GET", log_of(id), params={"follow": 1}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 1000"
        assert [line for line, _ in zip(lines, range(6), strict=False) if line] == [":"] * 3


def test_a_reader_that_does_not_read_holds_little(gateway: Gateway) -> None:
    """64 MiB wait for one that took the headers and no more; nothing of it is read for him in advance."""
    id = gateway.submit()
    gateway.cluster.start(id)
    for _ in range(128):
        gateway.cluster.write(id, bytes(512 * 1024))
    with socket.create_connection(("127.0.0.1", gateway.port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(f"GET {log_of(id)}?follow=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 200")

        with gateway.http.stream("GET", log_of(id)) as answer:
            assert sum(len(data) for data in answer.iter_bytes()) == 64 << 20
        asked = [c.length for c in gateway.cluster.seen if isinstance(c, GetOutput)]
        assert 0 < asked.count(following.PART_BYTES) * following.PART_BYTES < 8 << 20


def test_a_reader_who_goes_away_is_let_go(gateway: Gateway) -> None:
    id = gateway.submit()
    gateway.cluster.start(id)
    with followed(gateway, id) as events:
        gateway.cluster.write(id, b"x")
        next(events)
    asked = len(gateway.cluster.seen)
    gateway.cluster.write(id, b"y")
    wait_until(lambda: gateway.http.get("/healthz").status_code == 200, what="the gateway answers")
    assert len(gateway.cluster.seen) - asked <= 3


def test_the_document_names_it(gateway: Gateway) -> None:
    document = gateway.http.get("/api/v1/openapi.json").json()
    operation = document["paths"]["/api/v1/tasks/{id}/logs/{phase}/{stream}"]["get"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert names == {"id", "phase", "stream", "attempt", "offset", "tail", "follow"}
