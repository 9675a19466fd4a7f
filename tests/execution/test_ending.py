"""How an attempt ends: limits, aborts, and that nothing of it survives."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from execution.harness import Bench, executed, leave_behind, mark, processes_marked, script
from wait import wait_until

from khala.core.task import Command, ExitReason, InputFile, Limits, Phase, TaskSpec
from khala.execution.job import PhaseStarted


def test_what_a_task_leaves_is_gone_after_its_end(bench: Bench) -> None:
    name = mark()
    began = time.monotonic()
    result = bench.shell(leave_behind(name) + "echo done")
    assert result.stdout.head == b"done\n"
    assert processes_marked(name) == []
    assert time.monotonic() - began < 30


def test_what_a_task_leaves_is_gone_after_its_limit(bench: Bench) -> None:
    name = mark()
    end = bench.run(script(leave_behind(name) + "trap 'echo told' TERM; sleep 300 & wait", wall_time_s=1.0))
    assert processes_marked(name) == []
    assert end.outcome.exit_reason is ExitReason.WALL_TIME_LIMIT
    assert not end.outcome.succeeded
    assert executed(end).signal == 9
    assert 1.0 <= executed(end).wall_time_s < 30
    assert executed(end).stdout.head == b"", "no grace for what had its time"


def test_what_a_task_leaves_is_gone_after_an_abort(bench: Bench) -> None:
    name = mark()
    job = bench.start(script(leave_behind(name) + "trap '' TERM; touch ready; while :; do sleep 1; done"))
    bench.wait_for(PhaseStarted)
    wait_until((bench.workspace_of(job) / "ready").exists, what="the task is up")
    assert len(processes_marked(name)) >= 4
    began = time.monotonic()
    bench.pool.abort(0, kill_grace_s=0.5)
    end = bench.end()
    assert 0.5 <= time.monotonic() - began < 30
    assert processes_marked(name) == []
    assert (end.outcome.exit_reason, end.outcome.phase) == (ExitReason.CANCELLED, Phase.EXECUTE)


def test_a_task_that_forks_without_end_is_ended(bench: Bench) -> None:
    name = mark()
    bomb = f"printf 'while :; do (sleep 30 &); done\n' > b.sh; setsid bash b.sh {name} & bash b.sh {name}"
    end = bench.run(script(bomb, wall_time_s=0.5))
    assert end.outcome.exit_reason is ExitReason.WALL_TIME_LIMIT, end.outcome.reason
    assert processes_marked(name) == []
    assert executed(end).wall_time_s < 30


def test_an_abort_lets_a_task_end_by_itself(bench: Bench) -> None:
    job = bench.start(script("trap 'echo bye; exit 3' TERM; touch ready; while :; do sleep 0.01; done"))
    wait_until((bench.workspace_of(job) / "ready").exists, what="the task is up")
    began = time.monotonic()
    bench.pool.abort(0, kill_grace_s=60.0)
    end = bench.end()
    assert time.monotonic() - began < 30
    assert end.outcome.exit_reason is ExitReason.CANCELLED
    assert (executed(end).stdout.head, executed(end).exit_code) == (b"bye\n", 3)


def test_compile_has_its_own_limit(bench: Bench) -> None:
    spec = TaskSpec(
        compile=Command(shell="sleep 300", limits=Limits(wall_time_s=0.2)),
        execute=Command(shell="echo never"),
    )
    outcome = bench.run(spec).outcome
    assert (outcome.exit_reason, outcome.phase) == (ExitReason.WALL_TIME_LIMIT, Phase.COMPILE)
    assert outcome.result is not None
    assert outcome.result.execute is None


@pytest.mark.parametrize("unlimited", [None, 0, 1e15])
def test_no_limit(bench: Bench, unlimited: float | None) -> None:
    assert bench.shell("sleep 0.1", wall_time_s=unlimited).exit_code == 0


def test_an_idle_slot_can_be_aborted(bench: Bench) -> None:
    bench.pool.abort(1)
    assert bench.shell("true").exit_code == 0


def test_an_abort_right_after_the_start(bench: Bench) -> None:
    for _ in range(20):
        bench.start(script("sleep 300"))
        bench.pool.abort(0)
        assert bench.end().outcome.exit_reason is ExitReason.CANCELLED


def test_an_abort_that_comes_too_late_harms_nobody(bench: Bench) -> None:
    for _ in range(20):
        bench.start(script("true"))
        bench.pool.abort(0, kill_grace_s=0)
        assert bench.end().outcome.exit_reason in (ExitReason.CANCELLED, ExitReason.EXITED)
        assert bench.shell("sleep 0.01").exit_code == 0


def test_an_abort_while_the_workspace_is_filled(bench: Bench, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(1 << 30)
    digest = "a" * 64
    inputs = tuple(InputFile(path=f"copy{n}", file_id=digest) for n in range(40))
    bench.start(TaskSpec(inputs=inputs, execute=Command(shell="true")), files={digest: big})
    bench.pool.abort(0, kill_grace_s=0.1)
    began = time.monotonic()
    outcome = bench.end().outcome
    assert time.monotonic() - began < 15
    assert outcome.exit_reason is ExitReason.CANCELLED
    assert outcome.phase is None


def test_cpu_time_of_the_whole_tree_counts(bench: Bench) -> None:
    burn = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"
    result = bench.shell(
        f"mkfifo a b; bash -c '{burn}' & (bash -c '{burn}; echo >a' & bash -c '{burn}; echo >b' &) ; "
        "wait; read x <a; read x <b"
    )
    alone = bench.shell(burn)
    assert result.cpu_user_s > 1.4 * alone.cpu_user_s > 0, "three times as much; a busy CPU takes longer"
