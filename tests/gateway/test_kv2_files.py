"""What KV2 users send as files and get back as downloads."""

from __future__ import annotations

import io
import os
import zipfile

from gateway.cluster_model import phase_result, succeeded
from gateway.conftest import Gateway
from gateway.kv2_user import FORM, added, get, task, zipped


def test_zip_files_override_names_and_texts(gateway: Gateway) -> None:
    source, data = zipped(**{"main.cpp": b"int main(){}"}), zipped(**{"in/raw.dat": b"\x00\x01"})
    id = added(gateway, files={"compile_source": ("s.zip", source), "execute_data": ("d.zip", data)})
    spec = gateway.cluster.task(id).spec
    assert spec.inputs == ()
    assert [archive.path for archive in spec.archives] == ["", "data"]
    shown = task(gateway, id)
    assert shown["compile"]["source"] is True and shown["execute"]["data"] is True
    answer = get(gateway, id=id, file="compile_source")
    assert answer.content == source
    assert answer.headers["content-disposition"] == f'attachment; filename="{id}_compile_source.zip"'
    assert answer.headers["content-type"] == "application/zip"
    assert get(gateway, id=id, file="execute_data").content == data


def test_an_empty_file_field_overrides_nothing(gateway: Gateway) -> None:
    id = added(gateway, files={"compile_source": ("", b""), "execute_data": ("", b"")})
    assert [entry.path for entry in gateway.cluster.task(id).spec.inputs] == ["main.cpp", "data/raw.dat"]


def test_a_large_zip_is_stored_whole(gateway: Gateway) -> None:
    source = zipped(big=os.urandom(5_000_000))
    id = added(gateway, files={"compile_source": ("s.zip", source)})
    assert get(gateway, id=id, file="compile_source").content == source


def test_downloads(gateway: Gateway) -> None:
    id = added(gateway)
    gateway.cluster.start(id)
    gateway.cluster.end(id, succeeded(b"\xff\x00out", compile=phase_result(stdout=b"c-out", stderr=b"c-err")))
    for file, content in {
        "compile_command": b"g++ -o main main.cpp\necho done",
        "execute_command": b"./main",
        "execute_input": b"1 2\n",
        "execute_standard": b"3\n",
        "compile_output": b"c-out",
        "compile_error": b"c-err",
        "execute_output": b"\xff\x00out",
    }.items():
        answer = get(gateway, id=id, file=file)
        assert answer.content == content, file
        assert answer.headers["content-disposition"] == f'attachment; filename="{id}_{file}.txt"'
        assert answer.headers["content-type"].startswith("text/plain")
    assert get(gateway, id=id, file="execute_error").status_code == 404
    for file, name, content in (
        ("compile_source", "main.cpp", b"int main() {}\n"),
        ("execute_data", "raw.dat", b"a\nb"),
    ):
        with zipfile.ZipFile(io.BytesIO(get(gateway, id=id, file=file).content)) as archive:
            assert {entry: archive.read(entry) for entry in archive.namelist()} == {name: content}


def test_empty_downloads_are_404(gateway: Gateway) -> None:
    id = added(gateway, {"user": "1", "execute_command": "true"})
    for file in ("compile_source", "execute_data", "compile_command", "execute_input", "execute_standard",
                 "compile_output", "compile_error", "execute_output", "execute_error"):  # fmt: skip
        assert get(gateway, id=id, file=file).status_code == 404, file


def test_a_large_text_file_comes_back_as_a_zip(gateway: Gateway) -> None:
    text = "line\n" * 50_000
    id = added(gateway, FORM | {"compile_source_str": text})
    assert gateway.cluster.task(id).spec.inputs[0].file_id
    with zipfile.ZipFile(io.BytesIO(get(gateway, id=id, file="compile_source").content)) as archive:
        assert archive.read("main.cpp").decode() == text


def test_long_texts_are_cut_unless_asked_for_whole(gateway: Gateway) -> None:
    command, stdin, output = "#" * 1001, "é" * 1000 + "x" * 80_000, "y" * 2000
    id = added(gateway, FORM | {"execute_command": command, "execute_input": stdin})
    gateway.cluster.start(id)
    gateway.cluster.end(id, succeeded(output.encode()))
    cut, whole = task(gateway, id), task(gateway, id, no_truncate="1")
    assert cut["execute"]["command"] == "#" * 1000 + "..."
    assert cut["execute"]["execute_command"] == "#" * 1000 + "..."
    assert cut["execute"]["input"] == "é" * 1000 + "..."
    assert cut["result"]["execute_output"] == "y" * 1000 + "..."
    assert (whole["execute"]["command"], whole["execute"]["input"]) == (command, stdin)
    assert whole["result"]["execute_output"] == output
    assert get(gateway, id=id, file="execute_input").text == stdin


def test_a_text_of_1000_characters_is_not_cut(gateway: Gateway) -> None:
    id = added(gateway, FORM | {"execute_command": "#" * 1000})
    assert task(gateway, id)["execute"]["command"] == "#" * 1000
