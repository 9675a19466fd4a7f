"""Attacks by processes: hiding from their end, and reaching for those who run them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from abuse.attack import WALL_S, attack, attacking
from abuse.conftest import Typical, as_root
from execution.harness import Bench, launcher_pids, leave_behind, mark, processes_marked
from wait import wait_until

from khala.core.task import ExitReason, Isolation
from khala.execution.job import PhaseStarted


def test_daemon_that_ignores_sigterm_and_holds_stdout(bench: Bench, level: Isolation, phase: str) -> None:
    name = mark()
    began = time.monotonic()
    left = attack(bench, leave_behind(name) + "echo done", level, phase)
    assert left.outcome.succeeded, left.outcome.reason
    assert left.said == "done\n"
    assert processes_marked(name) == []
    assert time.monotonic() - began < WALL_S / 2


def test_abort_ends_a_daemon(bench: Bench, level: Isolation, phase: str, ending: Typical) -> None:
    name = mark()
    # A last command would take the shell's place, and its mark with it.
    attack_ = leave_behind(name) + "trap '' TERM; sleep 300; true"
    bench.start(attacking(attack_, level, phase, wall_time_s=300.0))
    bench.wait_for(PhaseStarted)
    wait_until(lambda: len(processes_marked(name)) >= 4, what="all are up")
    with ending.timed():
        bench.pool.abort(0, kill_grace_s=0.3)
        assert bench.end().outcome.exit_reason is ExitReason.CANCELLED
    assert processes_marked(name) == []


def test_abort_gives_the_task_its_grace(bench: Bench, level: Isolation) -> None:
    said = "trap 'echo bye; exit 3' TERM; touch ready; while :; do sleep 0.02; done"
    job = bench.start(attacking(said, level, "execute"))
    wait_until((bench.workspace_of(job) / "ready").exists, what="its trap is set")
    bench.pool.abort(0, kill_grace_s=30.0)
    end = bench.end().outcome
    assert end.exit_reason is ExitReason.CANCELLED
    assert end.result is not None
    assert end.result.execute is not None
    assert (end.result.execute.exit_code, end.result.execute.stdout.head) == (3, b"bye\n")


@as_root
@pytest.mark.parametrize("number", ["KILL", "STOP", "TERM"])
def test_signals_at_everybody(bench: Bench, level: Isolation, phase: str, number: str) -> None:
    before = launcher_pids(bench.root)
    said = f"trap '' TERM; kill -{number} $PPID; kill -{number} 1; echo sent; kill -{number} -1; exit 5"
    ended = attack(bench, said, level, phase, wall_time_s=15.0)
    assert "sent" in ended.said
    assert launcher_pids(bench.root) == before
    states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in before.values()]
    assert not set(states) & {"T", "t", "Z", "X"}, "none is stopped"


def test_signals_at_its_group(bench: Bench, level: Isolation) -> None:
    ended = attack(bench, "kill -KILL 0", level)
    assert ended.why is ExitReason.SIGNALED
    assert ended.result.signal == 9


@as_root
def test_a_neighbour_cannot_be_signalled(bench: Bench, level: Isolation) -> None:
    name = mark()
    other = bench.start(attacking(f"exec -a {name} sleep 300", level, "execute", wall_time_s=300.0), slot=1)
    wait_until(lambda: processes_marked(name), what="the neighbour is up")
    [pid, *_] = processes_marked(name)
    ended = attack(bench, f"kill -KILL {pid} 2>&1; exit 0", level)
    assert "permitted" in ended.said or "No such process" in ended.said
    assert processes_marked(name)
    bench.pool.abort(1, kill_grace_s=0)
    assert bench.end_of(other).outcome.exit_reason is ExitReason.CANCELLED


def test_stopping_itself(bench: Bench, level: Isolation) -> None:
    stopped = attack(bench, "kill -STOP $$; sleep 300", level, wall_time_s=0.5)
    assert stopped.why is ExitReason.WALL_TIME_LIMIT


def test_orphans_do_not_outlive_a_killed_main_process(bench: Bench, level: Isolation) -> None:
    name = mark()
    ended = attack(bench, leave_behind(name) + "kill -KILL $$", level)
    assert ended.result.signal == 9
    assert processes_marked(name) == []
