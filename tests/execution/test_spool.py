"""Whole output in spools: what makes one, how far it is told, where it ends, who can see it."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from execution.harness import Bench, executed, launcher_pids, opened, script
from wait import wait_until

from khala.core.output import StreamKey
from khala.core.task import Limits, TaskSpec
from khala.execution.job import Job, OutputSpooled
from khala.execution.launching.spool import WRITE_BYTES, Spool
from khala.execution.spools import Spools

CAP = 3 << 20
LONG = "for n in $(seq 1 20000); do echo line $n; done"


@pytest.fixture
def spools(tmp_path: Path) -> Spools:
    return Spools(tmp_path / "spool")


@pytest.fixture
def spooling(root: Path, tmp_path: Path, spools: Spools) -> Iterator[Bench]:
    bench = opened(root, spool_root=tmp_path / "spool", stored_output_bytes=CAP)
    yield bench
    bench.pool.close()


def key_of(job: Job, stream: str = "stdout", phase: str = "execute") -> StreamKey:
    return StreamKey(task_id=job.task_id, attempt=job.attempt, phase=phase, stream=stream)


def told_of(bench: Bench) -> list[OutputSpooled]:
    return [event for event in bench.seen if isinstance(event, OutputSpooled)]


def test_a_short_task_makes_no_spool(spooling: Bench, tmp_path: Path) -> None:
    result = spooling.shell("seq 1 5000; echo no >&2")
    assert (result.stdout.stored_bytes, result.stdout.sha256, result.stdout.truncated) == (0, "", False)
    assert list((tmp_path / "spool").iterdir()) == []
    assert told_of(spooling) == []


def test_a_long_output_is_whole_in_its_spool(spooling: Bench, spools: Spools) -> None:
    job = spooling.start(script(f"{LONG}; {LONG} >&2"))
    result = executed(spooling.end_of(job))
    whole = b"".join(b"line %d\n" % number for number in range(1, 20001))
    for name, capture in (("stdout", result.stdout), ("stderr", result.stderr)):
        key = key_of(job, name)
        assert (capture.size, capture.stored_bytes, capture.truncated) == (len(whole), len(whole), False)
        assert capture.sha256 == hashlib.sha256(whole).hexdigest() == spools.digest(key, len(whole))
        assert spools.read(key, 0, len(whole) + 1) == whole
        assert whole.startswith(capture.head)
        assert whole.endswith(capture.tail)
        assert len(capture.head) + len(capture.tail) < len(whole)
    spools.drop(job.task_id, job.attempt)
    assert spools.sizes(job.task_id, job.attempt) == {}


def test_output_is_told_while_it_comes(spooling: Bench, spools: Spools) -> None:
    job = spooling.start(script("echo first; until [ -e on ]; do sleep 0.01; done; echo second"))
    first = spooling.wait_for(OutputSpooled)
    assert (first.stdout_bytes, first.stderr_bytes, first.phase) == (6, 0, "execute")
    assert spools.read(key_of(job), 0, 100) == b"first\n"
    (spooling.workspace_of(job) / "on").touch()
    result = executed(spooling.end_of(job))
    assert (result.stdout.head, result.stdout.stored_bytes) == (b"first\nsecond\n", 0)
    assert spools.sizes(job.task_id, job.attempt)[key_of(job)] >= 6


def test_many_lines_are_told_ten_times_a_second_at_most(spooling: Bench) -> None:
    result = spooling.shell("for n in $(seq 1 60); do echo $n; sleep 0.01; done; sleep 1")
    assert 1 <= len(told_of(spooling)) <= 10 * result.wall_time_s + 4


def test_what_is_beyond_the_cap_is_told_as_truncated(spooling: Bench, spools: Spools) -> None:
    job = spooling.start(script("head -c 5000000 /dev/zero; head -c 100000 /dev/zero >&2"))
    result = executed(spooling.end_of(job))
    assert (result.stdout.size, result.stdout.stored_bytes, result.stdout.truncated) == (5_000_000, CAP, True)
    assert (result.stderr.size, result.stderr.stored_bytes, result.stderr.truncated) == (100_000, 0, True)
    assert result.stdout.sha256 == hashlib.sha256(bytes(CAP)).hexdigest()
    assert spools.sizes(job.task_id, job.attempt) == {key_of(job): CAP}


def test_the_output_limit_bounds_the_spool(spooling: Bench, spools: Spools) -> None:
    spec = script("head -c 5000000 /dev/zero")
    assert spec.execute is not None
    job = spooling.start(TaskSpec(execute=replace(spec.execute, limits=Limits(output_bytes=200_000))))
    result = executed(spooling.end_of(job))
    assert result.exit_reason == "output_limit"
    assert (result.stdout.stored_bytes, result.stdout.truncated) == (200_000, True)
    assert result.stdout.size > 200_000


def test_phases_are_kept_apart(spooling: Bench, spools: Spools) -> None:
    compile_, execute = script(LONG).execute, script(f"{LONG} | tail -n 10000").execute
    job = spooling.start(TaskSpec(compile=compile_, execute=execute))
    spooling.end_of(job)
    assert spools.read(key_of(job, phase="compile"), 0, 7) == b"line 1\n"
    assert spools.read(key_of(job), 0, 11) == b"line 10001\n"


def test_a_killed_launchers_spool_stays(spooling: Bench, spools: Spools) -> None:
    job = spooling.start(script("echo so far; sleep 600"))
    spooling.wait_for(OutputSpooled)
    os.kill(launcher_pids(spooling.root)[0], signal.SIGKILL)
    assert spooling.end_of(job).outcome.result is None
    assert spools.sizes(job.task_id, job.attempt) == {key_of(job): 7}


@pytest.mark.skipif(os.geteuid() != 0, reason="tasks run as the executor's own user")
def test_no_task_sees_a_spool(spooling: Bench, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    folder = tmp_path / "spool"
    result = spooling.shell(f"ls {folder}; cat {folder}/*/*; sleep 0.2; ls -R {folder}; touch {folder}/x")
    assert result.stdout.size == 0
    assert result.stderr.head.count(b"ermission denied") >= 3
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert modes <= {0o600}


def test_a_spool_that_cannot_be_made_costs_no_task(root: Path, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("not a folder")
    bench = opened(root, spool_root=tmp_path / "spool")
    result = bench.shell(f"{LONG}; sleep 0.3")
    bench.pool.close()
    assert (result.exit_code, result.stdout.stored_bytes, result.stdout.truncated) == (0, 0, True)


def test_a_disk_without_room_ends_the_spool_only(root: Path, tmp_path: Path) -> None:
    """Less than the reserve is left, for the journal lies there too; what was kept is told."""
    spool = make_spool(tmp_path, cap_bytes=10 << 20)
    stream = spool.streams["stdout"]
    stream.feed(b"x" * WRITE_BYTES)
    spool.reserve_bytes = 1 << 60
    stream.feed(b"y" * WRITE_BYTES)
    stream.feed(b"z" * WRITE_BYTES)
    stream.close(wanted=True)
    assert stream.written == WRITE_BYTES
    assert stream.sha256 == hashlib.sha256(b"x" * WRITE_BYTES).hexdigest()
    assert (tmp_path / "a-1" / "execute.stdout").read_bytes() == b"x" * WRITE_BYTES


def test_a_spool_without_a_byte_leaves_nothing(tmp_path: Path) -> None:
    """Nobody is told of it, so nobody would remove it."""
    stream = make_spool(tmp_path, reserve_bytes=1 << 60).streams["stdout"]
    stream.feed(b"x" * WRITE_BYTES)
    stream.close(wanted=True)
    assert (stream.written, list(tmp_path.iterdir())) == (0, [])


def test_a_telling_that_must_wait_is_made_up_for(tmp_path: Path) -> None:
    """The executor does not read just now."""
    answers = [False, False, True]
    spool = make_spool(tmp_path, told=lambda: answers.pop(0))
    spool.streams["stdout"].feed(b"x")

    def tended() -> bool:
        spool.tend()
        return not answers

    wait_until(tended, what="all is told")
    assert spool.due_s is None
    assert spool.written == {"stdout": 1, "stderr": 0}
    for stream in spool.streams.values():
        stream.close(wanted=False)


def make_spool(folder: Path, **changes: object) -> Spool:
    plain = {"cap_bytes": CAP, "reserve_bytes": 0, "told": lambda: True}
    return Spool(str(folder), "a-1", "execute", **{**plain, **changes})


def test_old_spools_are_swept(spools: Spools, tmp_path: Path) -> None:
    for name in ("a" * 24 + "-1", "a" * 24 + "-2", "b" * 24 + "-1", "other"):
        (tmp_path / "spool" / name).mkdir()
        (tmp_path / "spool" / name / "execute.stdout").touch()
    spools.sweep({("a" * 24, 2)})
    assert {path.name for path in (tmp_path / "spool").iterdir()} == {"a" * 24 + "-2", "other"}
