"""A task's output over HTTP as bytes: whole, by range, by attempt."""

from __future__ import annotations

import pytest
from gateway.cluster_model import fail_times, failed, phase_result, sha256
from gateway.conftest import TOKEN, Gateway, problem
from gateway.outputs import LARGE, ended, large_task, log_of, stored

from khala.core.task import ExitReason, Phase, Result
from khala.core.transfers import GetOutput
from khala.errors import Unavailable
from khala.gateway.outputs import Span, span_of


@pytest.fixture
def large(gateway: Gateway) -> str:
    return large_task(gateway)


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


def test_the_document_names_it(gateway: Gateway) -> None:
    document = gateway.http.get("/api/v1/openapi.json").json()
    operation = document["paths"]["/api/v1/tasks/{id}/logs/{phase}/{stream}"]["get"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert names == {"id", "phase", "stream", "attempt", "offset", "tail", "follow"}
