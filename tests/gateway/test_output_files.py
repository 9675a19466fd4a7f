"""A task's output files over HTTP: the list, each by path and range, all as a zip."""

from __future__ import annotations

import io
import os
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from gateway.cluster_model import fail_times, phase_result, sha256, succeeded
from gateway.conftest import Gateway, problem

from khala.core.task import OutputFile, OutputGlob, Result
from khala.core.transfers import GetFileChunk
from khala.errors import Unavailable

BIG = os.urandom(2_600_000)
CONTENTS = {"a.txt": b"a\n", "out/big": BIG, 'out/é "x".html': b"<script>", "none": b"", "out.zip": b"z"}
BYTES = {"content-type": "application/octet-stream"}


def with_outputs(gateway: Gateway, contents: dict[str, bytes] = CONTENTS) -> str:
    """A finished task that has these files; the address of its outputs."""
    for content in contents.values():
        assert gateway.http.post("/api/v1/files", content=content, headers=BYTES).status_code == 201
    files = tuple(
        OutputFile(path=path, size=len(content), sha256=sha256(content), mode=0o755)
        for path, content in contents.items()
    )
    id = gateway.submit(outputs=[{"glob": "**", "required": True}, {"glob": "log"}])
    gateway.cluster.start(id)
    gateway.cluster.end(id, replace(succeeded(), result=Result(execute=phase_result(), outputs=files)))
    return f"/api/v1/tasks/{id}/outputs"


def test_the_list(gateway: Gateway) -> None:
    at = with_outputs(gateway)
    listed = gateway.http.get(at).json()
    assert listed["state"] == "succeeded"
    assert listed["outputs"][0] == {"path": "a.txt", "size": 2, "sha256": sha256(b"a\n"), "mode": "755"}
    assert [file["path"] for file in listed["outputs"]] == list(CONTENTS)
    task = gateway.http.get(at.removesuffix("/outputs")).json()
    assert task["outputs"] == listed["outputs"]
    assert task["output_globs"] == [{"glob": "**", "required": True}, {"glob": "log", "required": False}]
    spec = gateway.cluster.task(task["id"]).spec
    assert spec.outputs == (OutputGlob(glob="**", needed=True), OutputGlob(glob="log"))


def test_an_unfinished_task_has_none_yet(gateway: Gateway) -> None:
    id = gateway.submit(outputs=[{"glob": "*"}])
    assert gateway.http.get(f"/api/v1/tasks/{id}/outputs").json() == {"state": "pending", "outputs": []}
    problem(gateway.http.get(f"/api/v1/tasks/{id}/outputs/x"), 404, "not_found")
    problem(gateway.http.get(f"/api/v1/tasks/{id}/outputs.zip"), 404, "not_found")


@pytest.mark.parametrize("path", CONTENTS)
def test_each_file(gateway: Gateway, path: str) -> None:
    answer = gateway.http.get(f"{with_outputs(gateway)}/{path}")
    assert answer.content == CONTENTS[path]
    assert answer.headers["etag"] == f'"{sha256(CONTENTS[path])}"'
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    head = gateway.http.head(f"{with_outputs(gateway)}/{path}")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(CONTENTS[path])))


def test_the_name_of_a_download_cannot_break_its_header(gateway: Gateway) -> None:
    answer = gateway.http.get(f'{with_outputs(gateway)}/out/é "x".html')
    told = answer.headers["content-disposition"]
    assert told == "attachment; filename=\"_ _x_.html\"; filename*=UTF-8''%C3%A9%20%22x%22.html"


@pytest.mark.parametrize(
    "path", ["nothing", "out", "out/", "../a.txt", "/a.txt", "a.txt/", "A.txt", "%2e%2e/x", "out//big"]
)
def test_what_is_not_there(gateway: Gateway, path: str) -> None:
    at = with_outputs(gateway)
    assert gateway.http.get(f"{at}/{path}").status_code in (404, 400)


def test_unknown_tasks_and_files_that_are_gone(gateway: Gateway) -> None:
    for path in ("outputs", "outputs/x", "outputs.zip"):
        problem(gateway.http.get(f"/api/v1/tasks/{'0' * 24}/{path}"), 404, "not_found")
        problem(gateway.http.get(f"/api/v1/tasks/zz/{path}"), 400, "malformed")
    lost = (OutputFile(path="lost", size=1, sha256="0" * 64),)
    id = gateway.submit()
    gateway.cluster.start(id)
    gateway.cluster.end(id, replace(succeeded(), result=Result(outputs=lost)))
    problem(gateway.http.get(f"/api/v1/tasks/{id}/outputs/lost"), 404, "not_found")


@pytest.mark.parametrize(
    ("wanted", "begin", "end"),
    [
        ("bytes=0-0", 0, 1), ("bytes=5-9", 5, 10), ("bytes=2599999-", 2_599_999, 2_600_000),
        ("bytes=-7", 2_599_993, 2_600_000), ("bytes=1000000-2500000", 1_000_000, 2_500_001),
        ("bytes=0-99999999", 0, 2_600_000),
    ],
)  # fmt: skip
def test_ranges(gateway: Gateway, wanted: str, begin: int, end: int) -> None:
    answer = gateway.http.get(f"{with_outputs(gateway)}/out/big", headers={"range": wanted})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {begin}-{end - 1}/2600000"
    assert answer.content == BIG[begin:end]


def test_a_range_beyond_the_end_and_validators(gateway: Gateway) -> None:
    at = f"{with_outputs(gateway)}/out/big"
    beyond = gateway.http.get(at, headers={"range": "bytes=2600000-"})
    problem(beyond, 416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == "bytes */2600000"
    tag = f'"{sha256(BIG)}"'
    for told in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = gateway.http.get(at, headers={"if-none-match": told})
        assert (answer.status_code, answer.content) == (304, b"")
    assert gateway.http.get(at, headers={"range": "bytes=0-0", "if-range": tag}).status_code == 206
    assert gateway.http.get(at, headers={"range": "bytes=0-0", "if-range": '"x"'}).content == BIG


def test_all_as_a_zip(gateway: Gateway, tmp_path: Path) -> None:
    at = f"{with_outputs(gateway)}.zip"
    answer = gateway.http.get(at)
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"].endswith('_outputs.zip"')
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == CONTENTS
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100755}
    assert gateway.http.head(at).status_code == 200
    (tmp_path / "all.zip").write_bytes(answer.content)
    tested = subprocess.run(
        ["/usr/bin/env", "python3", "-m", "zipfile", "-t", tmp_path / "all.zip"],
        capture_output=True,
        check=True,
    )
    assert b"Done testing" in tested.stdout


def test_a_zip_that_breaks_off_is_seen(gateway: Gateway) -> None:
    at = f"{with_outputs(gateway)}.zip"
    seen = 0

    def trouble(command: object) -> Exception | None:
        nonlocal seen
        seen += isinstance(command, GetFileChunk)
        return Unavailable("gone") if isinstance(command, GetFileChunk) and seen > 2 else None

    gateway.cluster.trouble = trouble
    with pytest.raises(Exception, match=r"(?i)incomplete|closed|peer|protocol"):
        gateway.http.get(at)


def test_stored_files_have_ranges_too(gateway: Gateway) -> None:
    with_outputs(gateway)
    at = f"/api/v1/files/{sha256(BIG)}"
    assert gateway.http.get(at, headers={"range": "bytes=10-19"}).content == BIG[10:20]
    assert gateway.http.get(at, headers={"if-none-match": f'"{sha256(BIG)}"'}).status_code == 304


def test_a_chunk_that_is_not_there_now_is_said(gateway: Gateway) -> None:
    at = with_outputs(gateway)
    gateway.cluster.trouble = fail_times(Unavailable("no primary"), 1, GetFileChunk)
    problem(gateway.http.get(f"{at}/a.txt"), 503, "unavailable")


def test_no_token_no_files(secured: Gateway) -> None:
    for path in ("outputs", "outputs/x", "outputs.zip"):
        answer = secured.http.get(f"/api/v1/tasks/{'0' * 24}/{path}", headers={"authorization": ""})
        assert answer.status_code == 401
