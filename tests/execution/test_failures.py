"""Processes of the executor that die: nothing is left, and the slots work again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from execution.harness import (
    Bench,
    launcher_pids,
    leave_behind,
    mark,
    new_root,
    opened,
    processes_marked,
    script,
    settings_for,
    zygote_pids,
)  # fmt: skip
from uids import uids_of_node
from wait import wait_until

from khala.core.task import ExitReason
from khala.errors import ConfigurationError, Fault
from khala.execution.job import Job
from khala.execution.pool import LauncherPool

EXECUTOR = """
import sys, threading
from pathlib import Path
from khala.core.task import Command, TaskSpec
from khala.execution.job import Job
from khala.execution.pool import LauncherPool
from khala.execution.settings import ExecutionSettings
root, command, uid = sys.argv[1:]
pool = LauncherPool(ExecutionSettings(slots=2, workspace_root=Path(root), uid_base=int(uid)), print)
pool.start()
for slot in (0, 1):
    pool.run(slot, Job(task_id=f"{slot:024x}", attempt=1, spec=TaskSpec(execute=Command(shell=command))))
threading.Event().wait()
"""


def running(bench: Bench, name: str, slot: int = 0) -> Job:
    job = bench.start(script(leave_behind(name) + "touch ready; sleep 300"), slot=slot)
    wait_until((bench.workspace_of(job, slot) / "ready").exists, what="the task is up")
    return job


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_launcher_dies_in_a_job(own_bench: Bench, number: signal.Signals) -> None:
    name = mark()
    job = running(own_bench, name)
    pid = launcher_pids(own_bench.root)[0]
    os.kill(pid, number)
    end = own_bench.end()
    assert (end.task_id, end.outcome.exit_reason) == (job.task_id, ExitReason.INTERNAL_ERROR)
    assert end.outcome.reason == f"the slot's launcher was ended by signal {number.value}"
    assert processes_marked(name) == []
    assert not own_bench.workspace_of(job).exists()
    assert own_bench.shell("echo again").stdout.head == b"again\n"
    assert launcher_pids(own_bench.root)[0] != pid


def test_an_idle_launcher_dies(own_bench: Bench) -> None:
    pid = launcher_pids(own_bench.root)[1]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: launcher_pids(own_bench.root).get(1, pid) != pid, what="a new launcher")
    assert own_bench.run(script("true"), slot=1).outcome.succeeded


def test_a_neighbour_is_not_touched(own_bench: Bench) -> None:
    name = mark()
    other = running(own_bench, name, slot=1)
    running(own_bench, mark())
    os.kill(launcher_pids(own_bench.root)[0], signal.SIGKILL)
    assert own_bench.end().slot == 0
    assert len(processes_marked(name)) >= 3
    own_bench.pool.abort(1, kill_grace_s=0)
    assert own_bench.end().task_id == other.task_id


def test_the_zygote_dies(own_bench: Bench) -> None:
    name = mark()
    job = running(own_bench, name)
    before = launcher_pids(own_bench.root)
    [zygote] = zygote_pids(own_bench.root)
    os.kill(zygote, signal.SIGKILL)
    wait_until(lambda: zygote_pids(own_bench.root) not in ([], [zygote]), what="a new zygote")
    wait_until(lambda: launcher_pids(own_bench.root).get(1, before[1]) != before[1], what="idle one replaced")
    assert launcher_pids(own_bench.root)[0] == before[0], "the running job lives on"
    own_bench.pool.abort(0, kill_grace_s=0)
    end = own_bench.end()
    assert (end.task_id, end.outcome.exit_reason) == (job.task_id, ExitReason.CANCELLED)
    assert processes_marked(name) == []
    for slot in (0, 1):
        assert own_bench.run(script("true"), slot=slot).outcome.succeeded
    assert launcher_pids(own_bench.root)[0] != before[0], "replaced by a child of the new zygote"


def test_zygote_and_launchers_die_together(own_bench: Bench) -> None:
    name = mark()
    running(own_bench, name)
    assert len(processes_marked(name)) >= 3
    for pid in (*zygote_pids(own_bench.root), *launcher_pids(own_bench.root).values()):
        with contextlib.suppress(ProcessLookupError):  # it has noticed the end of the one before
            os.kill(pid, signal.SIGKILL)
    assert own_bench.end().outcome.exit_reason is ExitReason.INTERNAL_ERROR
    assert processes_marked(name) == []
    assert own_bench.shell("echo again").stdout.head == b"again\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_executor_dies(root: Path, number: signal.Signals) -> None:
    name = mark()
    command = leave_behind(name) + "trap '' TERM; touch ready; sleep 300"
    argv = [sys.executable, "-c", EXECUTOR, str(root), command, str(uids_of_node(1, nodes=4))]
    executor = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        for slot in (0, 1):
            ready = root / f"{slot}-{slot:024x}-1" / "ready"
            wait_until(ready.exists, what="the tasks are up")
    finally:
        executor.send_signal(number)
        executor.wait()
    wait_until(lambda: not processes_marked(name), what="no process of a task is left")
    wait_until(lambda: not launcher_pids(root) and not zygote_pids(root), what="no launcher is left")
    assert list(root.iterdir()) == []


def test_a_new_executor_sweeps_what_a_killed_one_left(root: Path) -> None:
    leftover = root / f"7-{'a' * 24}-3"
    (leftover / "deep").mkdir(parents=True)
    (leftover / "deep" / "file").touch()
    keep = [root / "7-notes", root / f"7-{'a' * 24}-3.bak"]
    for path in keep:
        path.mkdir()
    bench = opened(root)
    bench.pool.close()
    assert sorted(root.iterdir()) == sorted(keep)


def test_two_executors_cannot_share_a_root(own_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("khala.execution.pool.ROOT_FREE_WITHIN_S", 0.1)
    second = LauncherPool(settings_for(own_bench.root), print)
    with pytest.raises(ConfigurationError, match="in use by another executor"):
        second.start()


def test_close_ends_running_jobs(open_folder: Path) -> None:
    name = mark()
    bench = opened(new_root(open_folder))
    running(bench, name)
    bench.pool.close()
    assert processes_marked(name) == []
    assert list(bench.root.iterdir()) == []
    bench.pool.close()
    with pytest.raises(Fault, match="not running"):
        bench.pool.run(0, Job(task_id="f" * 24, attempt=1, spec=script("true")))


def test_no_job_starts_on_a_full_disk(root: Path) -> None:
    """It is the executor's failure, not the task's: another one may run it."""
    bench = opened(root, reserve_bytes=1 << 60)
    try:
        assert not bench.pool.has_room()
        outcome = bench.run(script("true")).outcome
        assert outcome.exit_reason is ExitReason.EXECUTOR_LOST
        assert "reserve" in outcome.reason
    finally:
        bench.pool.close()
