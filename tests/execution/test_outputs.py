"""Output files: what is kept of a workspace, how, when, and what is said of the rest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Set
from pathlib import Path

import pytest
from execution.harness import Bench, launcher_pids, opened
from wait import wait_until

from khala.core.task import Command, ExitReason, InputFile, Limits, Outcome, OutputFile, OutputGlob, TaskSpec
from khala.execution.job import JobEnded, PhaseStarted
from khala.execution.launching import collecting
from khala.execution.spools import Spools

CAP = 3 << 20


@pytest.fixture
def spools(tmp_path: Path) -> Spools:
    return Spools(tmp_path / "spool")


@pytest.fixture
def keeping(root: Path, tmp_path: Path, spools: Spools) -> Iterator[Bench]:
    bench = opened(root, spool_root=tmp_path / "spool", kept_files_bytes=CAP)
    yield bench
    bench.pool.close()
    assert list(root.iterdir()) == []


def asking(shell: str, *globs: str, needed: bool = False, **spec: object) -> TaskSpec:
    outputs = tuple(OutputGlob(glob=glob, needed=needed) for glob in globs)
    return TaskSpec(execute=Command(shell=shell), outputs=outputs, **spec)  # type: ignore[arg-type]


def kept(outcome: Outcome) -> tuple[OutputFile, ...]:
    assert outcome.result is not None, outcome
    return outcome.result.outputs


def contents(spools: Spools, end: JobEnded) -> dict[str, bytes]:
    """What is in the spool, each checked against what the outcome says of it."""
    found, offset = {}, 0
    for file in kept(end.outcome):
        data = spools.read_files(end.task_id, end.attempt, offset, file.size)
        assert hashlib.sha256(data).hexdigest() == file.sha256 and len(data) == file.size
        found[file.path] = data
        offset += file.size
    assert spools.read_files(end.task_id, end.attempt, offset, 1) == b"", "and nothing else"
    return found


def test_files_are_kept_with_digest_and_mode(keeping: Bench, spools: Spools) -> None:
    shell = "mkdir -p out/deep; echo 1 > out/a; echo 2 > out/deep/b; echo no > c; chmod 751 out/a; : > out/é"
    end = keeping.run(asking(shell, "out/**"))
    assert contents(spools, end) == {"out/a": b"1\n", "out/deep/b": b"2\n", "out/é": b""}
    assert [file.mode for file in kept(end.outcome)] == [0o751, 0o600, 0o600]
    assert end.outcome.succeeded and end.outcome.reason == ""


def test_inputs_count_and_no_file_is_kept_twice(keeping: Bench, spools: Spools) -> None:
    spec = asking("echo more >> in", "*", "in", "**", inputs=(InputFile(path="in", content=b"input\n"),))
    assert contents(spools, keeping.run(spec)) == {"in": b"input\nmore\n"}


@pytest.mark.parametrize(
    ("shell", "reason"),
    [("echo x > f; exit 3", ExitReason.EXITED), ("echo x > f; kill -9 $$", ExitReason.SIGNALED)],
)
def test_kept_also_when_it_failed(keeping: Bench, spools: Spools, shell: str, reason: ExitReason) -> None:
    end = keeping.run(asking(shell, "f", "lacking", needed=True))
    assert contents(spools, end) == {"f": b"x\n"}
    assert end.outcome.exit_reason is reason, "its own end says more than what it therefore lacks"


def test_kept_after_a_limit_ended_it_and_after_compilation(keeping: Bench, spools: Spools) -> None:
    limits = Limits(wall_time_s=10.0)
    spec = TaskSpec(
        execute=Command(shell="echo x > f; sleep 600", limits=limits), outputs=(OutputGlob(glob="f"),)
    )
    end = keeping.run(spec)
    assert (end.outcome.exit_reason, contents(spools, end)) == (ExitReason.WALL_TIME_LIMIT, {"f": b"x\n"})
    for code in (0, 1):
        spec = TaskSpec(
            compile=Command(shell=f"echo log > log; exit {code}"), outputs=(OutputGlob(glob="log"),)
        )
        assert contents(spools, keeping.run(spec)) == {"log": b"log\n"}


def test_what_a_needed_glob_lacks_fails_the_task(keeping: Bench) -> None:
    outcome = keeping.run(asking("echo x > f", "f", "*.txt", "d/**", needed=True)).outcome
    assert (outcome.succeeded, outcome.exit_reason) == (False, ExitReason.SETUP_FAILED)
    assert outcome.reason == "required outputs are lacking: '*.txt', 'd/**'"
    assert [file.path for file in kept(outcome)] == ["f"]
    assert outcome.result is not None and outcome.result.execute is not None
    assert outcome.result.execute.exit_code == 0


def test_what_is_refused_is_said_and_fails_only_what_needs_it(keeping: Bench) -> None:
    shell = "echo x > f; ln -s f link"
    outcome = keeping.run(asking(shell, "*")).outcome
    assert outcome.succeeded
    assert outcome.reason == "outputs not kept: 'link' is a symbolic link, not a regular file"
    outcome = keeping.run(asking(shell, "*", needed=True)).outcome
    assert outcome.exit_reason is ExitReason.SETUP_FAILED
    assert outcome.reason.startswith("required outputs are lacking: '*'; outputs not kept: 'link' is")


def test_nothing_is_left_in_the_spool_when_nothing_is_kept(keeping: Bench, tmp_path: Path) -> None:
    keeping.run(asking("true", "*"))
    keeping.run(asking("echo x > f", "g"))
    assert list((tmp_path / "spool").iterdir()) == []


def test_without_a_spool_nothing_is_kept_and_it_is_said(bench: Bench) -> None:
    outcome = bench.run(asking("echo x > f", "f")).outcome
    assert outcome.succeeded and outcome.reason == "outputs not kept: this executor keeps no output files"
    assert bench.run(asking("echo x > f", "f", needed=True)).outcome.exit_reason is ExitReason.SETUP_FAILED


def test_the_cap_holds_for_all_files_together(keeping: Bench, spools: Spools) -> None:
    end = keeping.run(asking("head -c 2000000 /dev/zero | tee a b > c; echo x > d", "*"))
    assert {path: len(data) for path, data in contents(spools, end).items()} == {"a": 2_000_000, "d": 2}
    assert "'b' with its 2000000 bytes, all kept files are more than 3145728" in end.outcome.reason


def test_so_many_files(keeping: Bench) -> None:
    outcome = keeping.run(asking("mkdir d; cd d; seq 1 1200 | xargs touch", "d/*")).outcome
    assert len(kept(outcome)) == collecting.MAX_FILES
    assert "more than 1000 files" in outcome.reason and outcome.reason.endswith("and 190 more")


def test_an_abort_ends_the_collection(keeping: Bench) -> None:
    shell = "mkdir d; cd d; seq 1 60000 | xargs touch; truncate -s 3M x; echo up"
    launchers = set(launcher_pids(keeping.root).values())
    # Globs that take long to try on each name.
    job = keeping.start(asking(shell, *(f"d/{'*a' * 100}{n}" for n in range(100))))
    keeping.wait_for(PhaseStarted)
    wait_until(lambda: _is_collecting(launchers), timeout_s=120, what="the child that collects")
    keeping.pool.abort(0, kill_grace_s=0)
    outcome = keeping.end_of(job).outcome
    assert outcome.exit_reason is ExitReason.CANCELLED


def _is_collecting(launchers: Set[int]) -> bool:
    """Has a child of one of these its report open? Other tests' launchers have children too."""
    for path in Path("/proc").iterdir():
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            mine = any(fd.readlink().name.startswith("memfd:khala-outputs") for fd in (path / "fd").iterdir())
        except (OSError, ValueError, IndexError):
            continue
        if mine and parent in launchers:
            return True
    return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives slots users of their own")
def test_the_spool_stays_the_executors(keeping: Bench, tmp_path: Path) -> None:
    end = keeping.run(asking("echo x > f; chmod 777 f", "f"))
    file = tmp_path / "spool" / f"{end.task_id}-1" / "outputs"
    assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (0, 0o600)
