"""Attacks on the host's resources: each is ended by its limit, at every level, in both phases.

No fork bomb runs without a bound on processes: `attacking` gives every attack one, and a minute.
"""

from __future__ import annotations

import pytest
from abuse.attack import attack, attacking, holds_groups
from execution.harness import Bench, executed, mark, processes_marked, script

from khala.core.task import ExitReason, Isolation

MIB = 1024 * 1024
BOMB = (
    "printf 'while :; do (sleep 9 &) 2> /dev/null || exit 1; done\n' > b.sh; "
    "bash b.sh {0} & exec bash b.sh {0}"
)
HOG = "x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}"
SLOW_HOG = "x=$(head -c 40000000 /dev/zero | tr '\\0' x); for i in {1..8}; do (y=$x$i; sleep 20) & done; wait"


def test_fork_bomb(bench: Bench, level: Isolation, phase: str) -> None:
    name = mark()
    bomb = attack(bench, BOMB.format(name), level, phase, processes=40, wall_time_s=3.0)
    assert bomb.why in (ExitReason.PROCESS_LIMIT, ExitReason.WALL_TIME_LIMIT), bomb.outcome.reason
    assert processes_marked(name) == []
    if holds_groups(bomb):
        assert bomb.result.max_processes == 40


def test_process_limit_that_the_task_fails_by(bench: Bench, level: Isolation, phase: str) -> None:
    forks = "for (1 .. 50) { $p = fork; exit 7 if !defined $p; if (!$p) { sleep 2; exit } } sleep 2"
    ended = attack(bench, f"exec perl -e '{forks}'", level, phase, processes=10)
    if holds_groups(ended):
        assert ended.why is ExitReason.PROCESS_LIMIT
        assert ended.result.max_processes == 10
    else:
        assert ended.why in (ExitReason.EXITED, ExitReason.PROCESS_LIMIT)
        assert not ended.outcome.succeeded


def test_process_limit_that_the_task_survives(bench: Bench, level: Isolation) -> None:
    forks = "for (1 .. 50) { $p = fork; last if !defined $p; if (!$p) { sleep 1; exit } } print qq(fine)"
    ended = attack(bench, f"exec perl -e '{forks}'", level, processes=10)
    if "processes:watched" not in ended.enforced:
        assert ended.outcome.succeeded, ended.outcome.reason
        assert ended.said == "fine"


def test_memory_hog(bench: Bench, level: Isolation, phase: str) -> None:
    hog = attack(bench, HOG, level, phase, memory_bytes=64 * MIB)
    assert not hog.outcome.succeeded
    if holds_groups(hog):
        assert hog.why is ExitReason.MEMORY_LIMIT
        assert "memory" in hog.enforced
        assert 60 * MIB < hog.result.max_memory_bytes <= 64 * MIB
    else:
        assert "memory:each-process" in hog.enforced


def test_memory_hog_of_many_processes(bench: Bench, level: Isolation) -> None:
    hog = attack(bench, SLOW_HOG, level, memory_bytes=200 * MIB)
    if holds_groups(hog):
        assert hog.why is ExitReason.MEMORY_LIMIT
        assert hog.result.max_memory_bytes <= 200 * MIB
    else:
        assert "memory:each-process" in hog.enforced, "and the sum is not held"


def test_endless_output(bench: Bench, level: Isolation, phase: str) -> None:
    before = bench.launcher_rss_bytes(0)
    flood = attack(bench, "echo first; exec head -c 300000000 /dev/zero", level, phase, output_bytes=8 * MIB)
    assert flood.why is ExitReason.OUTPUT_LIMIT
    assert flood.result.stdout.head.startswith(b"first\n"), "what was produced so far is kept"
    assert 8 * MIB < flood.result.stdout.size < 16 * MIB
    assert bench.launcher_rss_bytes(0) - before < 4 * MIB


def test_output_on_both_streams_counts_together(bench: Bench, level: Isolation) -> None:
    both = "head -c 700000 /dev/zero; head -c 700000 /dev/zero >&2; sleep 3"
    assert attack(bench, both, level, output_bytes=MIB).why is ExitReason.OUTPUT_LIMIT


def test_much_output_without_a_limit_costs_no_memory(bench: Bench, level: Isolation) -> None:
    before = bench.launcher_rss_bytes(0)
    flood = attack(bench, "exec head -c 300000000 /dev/zero", level)
    assert flood.result.stdout.size == 300_000_000
    assert bench.launcher_rss_bytes(0) - before < 4 * MIB


def test_cpu_spinner(bench: Bench, level: Isolation, phase: str) -> None:
    spun = attack(bench, "while :; do :; done", level, phase, cpu_time_s=0.3)
    assert spun.why is ExitReason.CPU_TIME_LIMIT
    assert spun.result.cpu_user_s + spun.result.cpu_system_s < 0.95, (
        "not only once a second of a process is over"
    )


def test_cpu_time_of_the_whole_tree_counts(bench: Bench, level: Isolation) -> None:
    spun = attack(
        bench,
        "s='while :; do :; done'; (eval $s) & (setsid bash -c \"$s\" &); eval $s",
        level,
        cpu_time_s=0.6,
    )
    assert spun.why is ExitReason.CPU_TIME_LIMIT
    assert spun.result.cpu_user_s + spun.result.cpu_system_s < 2.0, "not each process by itself"


def test_huge_file(bench: Bench, level: Isolation, phase: str) -> None:
    huge = attack(bench, "head -c 100000000 /dev/zero > huge", level, phase, file_size_bytes=MIB)
    assert huge.why is ExitReason.FILE_SIZE_LIMIT
    assert huge.result.disk_bytes < 2 * MIB


@pytest.mark.parametrize("limit", [8 * MIB, 260 * MIB])
def test_disk_filler(bench: Bench, level: Isolation, phase: str, limit: int) -> None:
    """The small limit is held by a file system of its own, under root; the large one is watched."""
    fill = "for i in {1..600}; do head -c 4000000 /dev/zero > f$i || exit 1; done; sleep 3"
    filled = attack(bench, fill, level, phase, disk_bytes=limit)
    assert filled.why is ExitReason.DISK_LIMIT, filled.outcome.reason
    if "disk:tmpfs" in filled.enforced:
        assert filled.result.disk_bytes <= limit
    else:
        assert "disk:watched" in filled.enforced


def test_many_empty_files(bench: Bench, level: Isolation) -> None:
    many = "i=0; while :; do : > f$i || exit 1; i=$((i+1)); done"
    assert attack(bench, many, level, disk_bytes=4 * MIB, wall_time_s=300.0).why is ExitReason.DISK_LIMIT


def test_sparse_file(bench: Bench, level: Isolation) -> None:
    sparse = attack(bench, "exec truncate -s 1T sparse", level, disk_bytes=8 * MIB)
    assert sparse.why is ExitReason.DISK_LIMIT
    assert sparse.result.disk_bytes < 8 * MIB
    assert attack(bench, "truncate -s 1T sparse", level).outcome.succeeded, "it takes no room"


def test_many_open_files(bench: Bench, level: Isolation, phase: str) -> None:
    opened = attack(
        bench,
        "for i in {1..500}; do exec {fd}< /dev/null || exit 9; echo $i; done",
        level,
        phase,
        open_files=64,
    )
    assert opened.result.exit_code == 9
    assert int(opened.said.split()[-1]) < 64


def test_a_neighbour_is_not_disturbed(bench: Bench, level: Isolation) -> None:
    neighbour = bench.start(script("for i in {1..20}; do sleep 0.05; echo $i; done"), slot=1)
    for hostile in (HOG, BOMB.format(mark()), "exec head -c 300000000 /dev/zero"):
        bounds = {"memory_bytes": 64 * MIB, "wall_time_s": 0.5, "output_bytes": MIB}
        assert not bench.run(attacking(hostile, level, "execute", **bounds)).outcome.succeeded
    end = bench.end_of(neighbour)
    assert end.outcome.succeeded, end.outcome.reason
    assert executed(end).stdout.head.split()[-1] == b"20"
