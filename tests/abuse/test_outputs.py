"""Attacks on the trusted code that keeps output files: whatever a workspace holds when it looks."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from execution.harness import Bench

from khala.core.task import Command, ExitReason, Isolation, Limits, OutputGlob, TaskSpec
from khala.execution.launching import collecting
from khala.execution.launching.workspace import OPEN_DIRECTORY
from khala.execution.spools import Spools

SECRET = "nobody's business"
REFUSED = {
    "link to a secret": ("ln -s {secret} f", "'f' is a symbolic link"),
    "link to a folder": ("ln -s {folder} d; ln -s {folder} f", "'f' is a symbolic link"),
    "link to itself": ("ln -s f f", "'f' is a symbolic link"),
    "link to a descriptor": ("ln -s /proc/self/fd/0 f", "'f' is a symbolic link"),
    "fifo": ("mkfifo f", "'f' is a FIFO"),
    "socket": ("perl -MSocket -e 'socket(S,AF_UNIX,1,0); bind(S,pack_sockaddr_un(q(f)))'", "'f' is a socket"),
    "hard link": ("echo x > .a; ln .a f", "'f' has more than one link"),
    "sparse": ("truncate -s 100M f", "all kept files are more than 4194304"),
    "unreadable": ("echo x > f; chmod 0 f", "'f' cannot be read: Permission denied"),
    "folder closed": ("mkdir d; echo x > d/f; chmod 0 d", "'d' cannot be read: Permission denied"),
    "not UTF-8": ("echo x > $'f\\xff'", "has a name that is not UTF-8"),
    "line feed": ("echo x > $'f\\n'", "control character"),
    "terminal": ("echo x > $'f\\e[31m'", "control character"),
    "backslash": ("echo x > 'f\\..\\x'", "has a backslash"),
    "deep": ("perl -e 'for (1 .. 300) {{ mkdir q(d); chdir q(d) }}'", "32 levels deep"),
}


@dataclass
class Seen:
    """What was said, and what was kept."""

    reason: str
    exit_reason: ExitReason
    files: dict[str, bytes]


def kept_by(bench: Bench, shell: str, level: Isolation, phase: str, *globs: str) -> Seen:
    command = Command(shell=shell, limits=Limits(wall_time_s=300))
    spec = TaskSpec(
        compile=command if phase == "compile" else None,
        execute=command if phase == "execute" else None,
        isolation=level,
        outputs=tuple(OutputGlob(glob=glob) for glob in globs),
    )
    job = bench.start(spec)
    end = bench.end_of(job, timeout_s=300)
    assert end.outcome.result is not None, end.outcome
    assert bench.root.parent.joinpath("spool").stat().st_mode & 0o777 == 0o700
    spools, offset, files = Spools(bench.root.parent / "spool"), 0, {}
    for file in end.outcome.result.outputs:
        files[file.path] = spools.read_files(job.task_id, job.attempt, offset, file.size)
        offset += file.size
    spools.drop(job.task_id, job.attempt)
    return Seen(end.outcome.reason, end.outcome.exit_reason, files)


@pytest.fixture
def folder(open_folder: Path) -> Path:
    """A folder with a secret that every user of the host may read, but nobody asked for."""
    folder = open_folder / "secrets"
    folder.mkdir(exist_ok=True)
    (folder / "secret").write_text(SECRET)
    (folder / "secret").chmod(0o644)
    return folder


@pytest.mark.parametrize("trick", REFUSED)
def test_what_is_no_plain_file_is_refused(
    bench: Bench, level: Isolation, phase: str, folder: Path, trick: str
) -> None:
    shell, why = REFUSED[trick]
    seen = kept_by(
        bench, shell.format(secret=folder / "secret", folder=folder), level, phase, "f*", "**/[!.]*"
    )
    assert why in seen.reason, seen
    assert SECRET.encode() not in b"".join(seen.files.values())
    assert "f" not in seen.files


def test_more_files_than_anybody_looks_at(bench: Bench) -> None:
    """At one level and in one phase: what looks at them is the same in each."""
    wide = "echo x > a; mkdir d; cd d; seq 1 100001 | xargs -n 5000 touch"
    seen = kept_by(bench, wide, Isolation.BASIC, "execute", "*", "d/*")
    assert seen.reason == "outputs not kept: the globs lead through more than 100000 files and directories"
    assert seen.files == {"a": b"x\n"}


def test_a_link_in_the_way_leads_nowhere(bench: Bench, level: Isolation, phase: str, folder: Path) -> None:
    seen = kept_by(
        bench, f"ln -s {folder} d; ln -s / root", level, phase, "d/**", "d/secret", "root/etc/passwd"
    )
    assert seen.files == {}


def test_what_was_kept_is_right_beside_what_was_not(bench: Bench, level: Isolation, phase: str) -> None:
    shell = "mkfifo a; echo 1 > b; ln -s b c; head -c 3000000 /dev/urandom > d; cp d e; echo 2 > f; md5sum d"
    seen = kept_by(bench, shell, level, phase, "*")
    assert sorted(seen.files) == ["b", "d", "f"]
    assert (seen.files["b"], seen.files["f"], len(seen.files["d"])) == (b"1\n", b"2\n", 3_000_000)


def test_an_output_cannot_outgrow_the_cap(bench: Bench, level: Isolation, phase: str) -> None:
    seen = kept_by(bench, "head -c 5000000 /dev/zero > big; truncate -s 4M hole", level, phase, "*")
    assert {path: len(data) for path, data in seen.files.items()} == {"hole": 4 << 20}


class _Nobody:
    """What `Collecting` needs of a slot."""

    reserve_bytes = 0

    def become_task(self) -> None:
        """The test's own user is it already."""


@pytest.fixture
def swapped(tmp_path: Path, folder: Path) -> Iterator[Path]:
    """A workspace in which somebody swaps a file and a directory for links, all the time."""
    top, stop = tmp_path / "top", threading.Event()
    for name in ("f", "d"):
        (top / name).mkdir(parents=True)
    (top / "d" / "secret").write_text("own")
    (top / "f" / "x").write_text("own")

    def swap() -> None:
        (top / "d.link").symlink_to(folder)
        (top / "f" / "x.link").symlink_to(folder / "secret")
        while not stop.is_set():
            for path in (top / "d", top / "f" / "x"):
                link, kept = path.with_name(path.name + ".link"), path.with_name(path.name + ".kept")
                path.rename(kept)
                link.rename(path)
                path.rename(link)
                kept.rename(path)

    thread = threading.Thread(target=swap)
    thread.start()
    yield top
    stop.set()
    thread.join()


def test_a_directory_swapped_for_a_link_while_it_is_entered(swapped: Path, tmp_path: Path) -> None:
    """Without users of their own, another slot's task can do that."""
    top_fd = os.open(swapped, OPEN_DIRECTORY)
    spool_fd = os.open(tmp_path / "spool", os.O_RDWR | os.O_CREAT)
    report_fd = os.memfd_create("report")
    outputs = [{"glob": "**", "needed": False, "parts": ["**"]}]
    try:
        for _ in range(1500):
            collecting.Collecting(_Nobody(), top_fd, outputs, spool_fd, report_fd, 1 << 20)()  # type: ignore[arg-type]
            content = os.pread(spool_fd, 1 << 20, 0)
            assert content.replace(b"own", b"") == b""
            os.ftruncate(spool_fd, 0)
            os.lseek(spool_fd, 0, os.SEEK_SET)
    finally:
        for fd in (top_fd, spool_fd, report_fd):
            os.close(fd)
