"""Inputs and archives in the workspace, and what is refused before anything runs."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from execution.harness import Bench, executed

from khala.core.task import Archive, Command, ExitReason, InputFile, TaskSpec


def stored(folder: Path, content: bytes) -> dict[str, Path]:
    digest = hashlib.sha256(content).hexdigest()
    path = folder / digest
    path.write_bytes(content)
    path.chmod(0o600)
    return {digest: path}


def packed(**files: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return target.getvalue()


def test_inputs_are_written_with_their_modes(bench: Bench, tmp_path: Path) -> None:
    files = stored(tmp_path, b"stored\n")
    spec = TaskSpec(
        inputs=(
            InputFile(path="a/b/c.txt", content=b"inline\n"),
            InputFile(path="run", content=b"#!/bin/sh\necho ran\n", mode=0o755),
            InputFile(path="s", file_id=next(iter(files)), mode=0o4600),
            InputFile(path="empty"),
        ),
        execute=Command(shell="stat -c '%n %a %s' a/b/c.txt run s empty; cat a/b/c.txt s; ./run; date > s"),
    )
    end = bench.run(spec, files=files)
    assert executed(end).stdout.head.decode().splitlines() == [
        "a/b/c.txt 644 7", "run 755 19", "s 600 7", "empty 644 0", "inline", "stored", "ran",
    ]  # fmt: skip
    assert end.outcome.succeeded, end.outcome
    assert next(iter(files.values())).read_bytes() == b"stored\n"


def test_source_at_the_top_and_data_below(bench: Bench, tmp_path: Path) -> None:
    source, data = packed(**{"main.cpp": "int main(){}", "lib__x.h": "//"}), packed(numbers="1 2 3\n")
    files = stored(tmp_path, source) | stored(tmp_path, data)
    top, below = files
    spec = TaskSpec(
        archives=(Archive(file_id=top), Archive(file_id=below, path="data/in")),
        compile=Command(shell="g++ -o main main.cpp"),
        execute=Command(shell="./main && cat data/in/numbers && ls lib"),
    )
    end = bench.run(spec, files=files)
    assert end.outcome.succeeded, end.outcome
    assert executed(end).stdout.head == b"1 2 3\nx.h\n"


def test_stdin_from_a_stored_file(bench: Bench, tmp_path: Path) -> None:
    files = stored(tmp_path, b"from the store")
    spec = TaskSpec(execute=Command(shell="cat", stdin_file=next(iter(files))))
    assert executed(bench.run(spec, files=files)).stdout.head == b"from the store"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/etc/passwd", "is absolute"),
        ("../x", "has a '..'"),
        ("a/../../x", "has a '..'"),
        ("a\0b", "has a NUL byte"),
        ("", "has an empty part"),
        (".", "has an empty part"),
        ("a//b", "has an empty part"),
        ("a/", "has an empty part"),
        ("n" * 256, "has a name of more than 255 bytes"),
        ("/".join("d" * 33), "is more than 32 levels deep"),
        ("\ud800", "cannot be written"),
        ("first", "cannot be written: File exists"),
        ("first/below", "cannot be written: File exists"),
    ],
)
def test_hostile_input_paths(bench: Bench, path: str, why: str) -> None:
    inputs = (InputFile(path="first"), InputFile(path=path, content=b"x"))
    outcome = bench.run(TaskSpec(inputs=inputs, execute=Command(shell="true"))).outcome
    assert outcome.exit_reason is ExitReason.SETUP_FAILED, outcome
    assert outcome.phase is None
    assert outcome.result is None
    assert f"input {path!r} {why}" in outcome.reason


def test_a_stored_file_that_is_missing(bench: Bench) -> None:
    for spec in (
        TaskSpec(inputs=(InputFile(path="x", file_id="e" * 64),), execute=Command(shell="true")),
        TaskSpec(archives=(Archive(file_id="e" * 64),), execute=Command(shell="true")),
        TaskSpec(execute=Command(shell="true", stdin_file="e" * 64)),
    ):
        outcome = bench.run(spec).outcome
        assert outcome.exit_reason is ExitReason.SETUP_FAILED
        assert "is not on this executor" in outcome.reason


def test_a_tar_and_a_tar_gz(bench: Bench, tmp_path: Path) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo("tool")
        member.size, member.mode = 18, 0o755
        archive.addfile(member, io.BytesIO(b"#!/bin/sh\necho ran"))
    files = stored(tmp_path, target.getvalue()) | stored(tmp_path, gzip.compress(target.getvalue()))
    archives = tuple(Archive(file_id=file_id, path=path) for file_id, path in zip(files, "ab", strict=True))
    spec = TaskSpec(archives=archives, execute=Command(shell="a/tool && b/tool"))
    assert executed(bench.run(spec, files=files)).stdout.head == b"ran\nran\n"


def test_an_archive_that_is_not_taken_is_named(bench: Bench, tmp_path: Path) -> None:
    files = stored(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(600))
    spec = TaskSpec(archives=(Archive(file_id=next(iter(files))),), execute=Command(shell="true"))
    outcome = bench.run(spec, files=files).outcome
    assert outcome.exit_reason is ExitReason.SETUP_FAILED
    assert "packed by zstd, which is not taken: pack it as one of zip, tar, tar.gz" in outcome.reason


def test_a_bomb_is_refused(bench: Bench, tmp_path: Path) -> None:
    files = stored(tmp_path, packed(fine="x", zeros="\0" * 50_000_000))
    archive = Archive(file_id=next(iter(files)), path="data")
    spec = TaskSpec(archives=(archive,), execute=Command(shell="true"))
    outcome = bench.run(spec, files=files).outcome
    assert outcome.exit_reason is ExitReason.SETUP_FAILED
    assert "entry 'zeros'" in outcome.reason
    assert "bomb" in outcome.reason


def test_a_task_may_make_its_workspace_hard_to_remove(bench: Bench) -> None:
    deep = "for (1 .. 5000) { mkdir 'd' x 200; chdir 'd' x 200; open F, '>', 'f'; chmod 0, '.' if $_ % 2 }"
    assert bench.shell(f'mkdir -p x/y; chmod 0 x/y x; exec perl -e "{deep}"').exit_code == 0
    odd = "ln -s / root; mkdir t; ln -s /etc/passwd t/p; mkfifo p; touch $'a\\nb' $'\\xff' .removing-1"
    odd += "; chmod 0 ."
    assert bench.shell(odd).exit_code == 0
    assert Path("/etc/passwd").exists()
    assert bench.shell("mkdir d; for i in {1..3000}; do : > d/$i; done").exit_code == 0
    # Under root the workspace's parent is not the task's; otherwise all belongs to one user.
    assert bench.shell('cd /; rmdir "$HOME" || exit 9').exit_code == (9 if os.geteuid() == 0 else 0)
