"""Content-addressed files, and content that is moved out of tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import pytest
from gateway.cluster_model import fail_times, sha256
from gateway.conftest import TOKEN, Gateway, problem

from khala.core.transfers import GetFileChunk, PutFileChunk
from khala.errors import OutcomeUnknown, Unavailable

BYTES = {"content-type": "application/octet-stream"}


def upload(gateway: Gateway, content: bytes) -> str:
    answer = gateway.http.post("/api/v1/files", content=content, headers=BYTES)
    assert answer.status_code == 201, answer.text
    assert answer.json() == {"sha256": sha256(content), "size": len(content)}
    return str(answer.json()["sha256"])


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1, 3_500_000])
def test_what_goes_up_comes_down(gateway: Gateway, size: int) -> None:
    content = os.urandom(size)
    id = upload(gateway, content)
    answer = gateway.http.get(f"/api/v1/files/{id}")
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    head = gateway.http.head(f"/api/v1/files/{id}")
    assert (head.status_code, head.headers["content-length"]) == (200, str(size))


def test_a_file_without_a_declared_length(gateway: Gateway) -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b"abc" * 1000 for _ in range(500))

    answer = gateway.http.post("/api/v1/files", content=pieces(), headers=BYTES)
    assert answer.json()["sha256"] == sha256(b"abc" * 500_000)


def test_a_file_that_is_there_is_not_sent_again(gateway: Gateway) -> None:
    content = os.urandom(3_000_000)
    upload(gateway, content)
    before = len(gateway.cluster.seen)
    upload(gateway, content)
    assert len([c for c in gateway.cluster.seen[before:] if isinstance(c, PutFileChunk)]) == 1


@pytest.mark.parametrize("error", [OutcomeUnknown("lost"), Unavailable("gone")])
def test_an_upload_that_breaks_begins_anew(gateway: Gateway, error: Exception) -> None:
    content = os.urandom(3_000_000)
    left = iter([error])

    def trouble(command: object) -> Exception | None:
        return next(left, None) if isinstance(command, PutFileChunk) and command.offset > 0 else None

    gateway.cluster.trouble = trouble
    id = upload(gateway, content)
    assert gateway.http.get(f"/api/v1/files/{id}").content == content
    uploads = {command.upload_id for command in gateway.cluster.seen if isinstance(command, PutFileChunk)}
    assert len(uploads) == 2


def test_a_download_that_breaks_is_cut_and_not_padded(gateway: Gateway) -> None:
    id = upload(gateway, os.urandom(3_000_000))
    gateway.cluster.trouble = lambda command: (
        Unavailable("gone") if getattr(command, "offset", 0) > 1_500_000 else None
    )
    with pytest.raises(httpx.RemoteProtocolError):
        gateway.http.get(f"/api/v1/files/{id}")
    assert gateway.http.get("/healthz").status_code == 200


def test_unknown_and_malformed_ids(gateway: Gateway) -> None:
    for method in ("GET", "HEAD"):
        assert gateway.http.request(method, f"/api/v1/files/{'0' * 64}").status_code == 404
        assert gateway.http.request(method, "/api/v1/files/xyz").status_code == 400
    problem(gateway.http.get(f"/api/v1/files/{'0' * 64}"), 404, "not_found")
    problem(gateway.http.get(f"/api/v1/files/{'A' * 64}"), 400, "malformed")


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_a_form_is_not_a_file(gateway: Gateway, kind: str) -> None:
    answer = gateway.http.post("/api/v1/files", content=b"x", headers={"content-type": kind})
    problem(answer, 415, "unsupported_media_type")


def test_large_content_moves_out_of_the_task(gateway: Gateway) -> None:
    small, large = "s" * 1000, "l" * 100_000
    id = gateway.submit(
        inputs=[{"path": "small", "content": small}, {"path": "large", "content": large, "mode": "755"}],
        execute={"command": "cat", "stdin": "i" * 70_000},
    )
    spec = gateway.cluster.task(id).spec
    assert spec.execute is not None
    assert spec.inputs[0].content == small.encode()
    assert (spec.inputs[1].content, spec.inputs[1].file_id) == (b"", sha256(large.encode()))
    assert (spec.inputs[1].path, spec.inputs[1].mode) == ("large", 0o755)
    assert (spec.execute.stdin, spec.execute.stdin_file) == (b"", sha256(b"i" * 70_000))
    assert gateway.http.get(f"/api/v1/files/{sha256(large.encode())}").text == large


def test_many_small_contents_move_out_until_the_rest_fits(gateway: Gateway) -> None:
    inputs = [
        {"path": f"f{index}", "content": chr(65 + index % 26) * (60_000 + index)} for index in range(40)
    ]
    spec = gateway.cluster.task(gateway.submit(inputs=inputs)).spec
    inline = [entry for entry in spec.inputs if not entry.file_id]
    assert 0 < len(inline) < 40
    assert sum(len(entry.content) for entry in inline) <= 1024 * 1024
    assert [entry.path for entry in spec.inputs] == [entry["path"] for entry in inputs]


def test_a_refused_task_uploads_nothing(gateway: Gateway) -> None:
    body = {"execute": {"command": ""}, "inputs": [{"path": "x", "content": "y" * 100_000}]}
    problem(gateway.http.post("/api/v1/tasks", json=body), 422, "invalid")
    assert gateway.cluster.seen == []


def test_a_wrong_token_uploads_nothing(secured: Gateway) -> None:
    headers = BYTES | {"authorization": "Bearer wrong"}
    problem(secured.http.post("/api/v1/files", content=b"x", headers=headers), 401, "unauthorized")
    good = BYTES | {"authorization": f"Bearer {TOKEN}"}
    assert secured.http.post("/api/v1/files", content=b"x", headers=good).status_code == 201
    problem(secured.http.get(f"/api/v1/files/{sha256(b'x')}"), 401, "unauthorized")


def test_reading_a_file_survives_one_silent_judicator(gateway: Gateway) -> None:
    id = upload(gateway, b"content")
    gateway.cluster.trouble = fail_times(Unavailable("gone", retry_after_s=1), 1, GetFileChunk)
    problem(gateway.http.get(f"/api/v1/files/{id}"), 503, "unavailable")
    assert gateway.http.get(f"/api/v1/files/{id}").content == b"content"
