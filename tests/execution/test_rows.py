"""Short commands in a row: what becomes of each is the same as alone, and none finds what another left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from execution.harness import (
    FIND,
    MAKERS,
    Bench,
    executed,
    new_root,
    opened,
    python,
    script,
    settings_for,
)

from khala.core.task import Command, Outcome, PhaseResult, TaskSpec
from khala.execution.job import Job, JobEnded, JobReturned
from khala.execution.probing import probe_isolation

FIRST = script("sleep 0.01")
"""While it runs the others come to the launcher, which takes them together then."""


@dataclass
class Row:
    """Gives jobs ahead to slot 0 and hears what becomes of them; what comes back, for the one before it took
    long here, is given again."""

    bench: Bench
    order: list[str] = field(default_factory=list)

    def outcomes(self, *specs: TaskSpec) -> list[Outcome]:
        jobs = [self._job(spec) for spec in (FIRST, *specs)]
        self.bench.pool.run(0, jobs[0])
        for job in jobs[1:]:
            self.bench.pool.run(0, job, ahead=True)
        by_id, ended = {job.task_id: job for job in jobs}, dict[str, Outcome]()
        while len(ended) < len(jobs):
            event = self.bench.events.get(timeout=60)
            if isinstance(event, JobEnded):
                ended[event.task_id] = event.outcome
                self.order.append(event.task_id)
            elif isinstance(event, JobReturned):
                self.bench.pool.run(0, by_id[event.task_id], ahead=True)
        return [ended[job.task_id] for job in jobs[1:]]

    def phases(self, *texts: str) -> list[PhaseResult]:
        return [_phase(outcome) for outcome in self.outcomes(*map(script, texts))]

    def _job(self, spec: TaskSpec) -> Job:
        return Job(task_id=f"{next(self.bench.numbers):024x}", attempt=1, spec=spec)


def _phase(outcome: Outcome) -> PhaseResult:
    assert outcome.result is not None, outcome
    assert outcome.result.execute is not None, outcome
    return outcome.result.execute


@pytest.fixture
def row(ahead: Bench) -> Row:
    return Row(ahead)


@pytest.fixture
def grouped(open_folder: Path) -> Iterator[Bench]:
    """A pool whose slots have control groups, where this host has them."""
    root = new_root(open_folder)
    host = probe_isolation(settings_for(root.with_name(f"{root.name}-probe")))
    bench = opened(root, levels=host.levels, cgroups=host.cgroups)
    yield bench
    bench.pool.close()


def test_each_has_its_own_outcome(row: Row) -> None:
    _check_outcomes(row)


def test_each_has_its_own_outcome_in_groups(grouped: Bench) -> None:
    _check_outcomes(Row(grouped))


def _check_outcomes(row: Row) -> None:
    told = row.outcomes(
        script("echo out; echo err >&2"),
        script("exit 3"),
        script("kill -9 $$"),
        TaskSpec(execute=Command(argv=("no-such-program",))),
        script("echo left > file"),
        script("sleep 0.01 & exit 0"),
        script("echo last"),
    )
    phases = [_phase(outcome) for outcome in told]
    assert [(each.exit_code, each.signal) for each in phases] == [
        (0, None), (3, None), (None, 9), (127, None), (0, None), (0, None), (0, None)
    ]  # fmt: skip
    assert [outcome.succeeded for outcome in told] == [True, False, False, False, True, True, True]
    assert (phases[0].stdout.head, phases[0].stderr.head) == (b"out\n", b"err\n")
    assert b"no-such-program" in phases[3].stderr.head
    assert [each.disk_bytes > 0 for each in phases] == [False, False, False, False, True, False, False]
    assert phases[6].stdout.head == b"last\n"


def test_output_is_whole_however_long(row: Row) -> None:
    sizes = (1, 100, 4_096, 60_000, 70_000, 200_000, 0)
    phases = row.phases(*(f"head -c {size} /dev/zero | tr '\\0' x" for size in sizes))
    assert [each.stdout.size for each in phases] == list(sizes)
    for size, each in zip(sizes, phases, strict=True):
        assert set(each.stdout.head) <= set(b"x")
        assert size > 65_536 or len(each.stdout.head) + len(each.stdout.tail) == size


def test_a_row_tells_what_one_that_needs_more_tells(ahead: Bench) -> None:
    """A command with standard input takes the usual way."""
    plain, usual = (ahead.run(script("echo x", stdin=stdin)).outcome for stdin in (b"", b"unread"))
    assert plain.result is not None
    assert usual.result is not None
    assert plain.result.enforced == usual.result.enforced
    assert (plain.exit_reason, plain.phase, plain.reason) == (usual.exit_reason, usual.phase, usual.reason)
    for one, other in ((_phase(plain), _phase(usual)),):
        assert one.stdout == other.stdout
        assert one.max_processes == other.max_processes
        assert (one.max_memory_bytes > 0) == (other.max_memory_bytes > 0)
        assert abs(one.started_at - other.started_at) < 60
        assert 0 < one.wall_time_s < 60
        assert 0 < one.max_rss_bytes < 1 << 28


def test_environment_and_folder_are_each_one_s_own(row: Row) -> None:
    told = [each.stdout.head.decode().split() for each in row.phases(*["echo $KHALA_TASK_ID $PWD $HOME"] * 5)]
    assert len({task_id for task_id, _, _ in told}) == 5
    for task_id, folder, home in told:
        assert folder == home
        assert task_id in folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has an IPC namespace and a user for each slot")
def test_nothing_of_one_is_left_for_the_next(own_bench: Bench) -> None:
    texts = [text for maker in sorted(MAKERS) for text in (python(f"print({MAKERS[maker]})"), python(FIND))]
    leave, look = "echo mine > /tmp/left-$(id -u)", "ls /tmp"
    *told, left, looked = Row(own_bench).phases(*texts, leave, look)
    for made, found in zip(told[::2], told[1::2], strict=True):
        assert int(made.stdout.head) >= 0, made.stderr.head
        assert found.stdout.head == b"-1 -1 -1 -1\n", found.stderr.head
    assert left.exit_code == 0
    assert b"left-" not in looked.stdout.head


def test_figures_are_each_one_s_own(row: Row) -> None:
    _check_figures(row)


def test_figures_are_each_one_s_own_in_groups(grouped: Bench) -> None:
    _check_figures(Row(grouped))


def _check_figures(row: Row) -> None:
    hungry = "python3 -I -S -c 'x = bytearray(64 << 20)'"
    before, much, after = row.phases("true", hungry, "true")
    assert max(before.max_rss_bytes, after.max_rss_bytes) < 64 << 20 < much.max_rss_bytes
    if much.max_memory_bytes:
        assert max(before.max_memory_bytes, after.max_memory_bytes) < 64 << 20 < much.max_memory_bytes
    busy = "python3 -I -S -c 'import time\nwhile time.process_time() < 0.2: pass'"
    before, much, after = row.phases("true", busy, "true")
    assert max(before.cpu_user_s, after.cpu_user_s) < 0.15 < much.cpu_user_s + much.cpu_system_s


def test_many_rows_end_in_order(own_bench: Bench) -> None:
    row = Row(own_bench)
    outcomes = row.outcomes(*[script("true")] * 60)
    assert all(outcome.succeeded for outcome in outcomes)
    assert executed(own_bench.run(script("echo after"))).stdout.head == b"after\n"
