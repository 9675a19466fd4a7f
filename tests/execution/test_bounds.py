"""What a task may ask for, who it runs as, and how two executors keep out of each other's uids."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from execution.harness import Bench, new_root, opened, script

from khala.core.task import Command, ExitReason, Isolation, Limits, TaskSpec
from khala.errors import ConfigurationError
from khala.execution.bounds import Unrunnable, phase_limits
from khala.execution.launching.disk_use import measure
from khala.execution.settings import ExecutionSettings
from khala.execution.uid_range import (
    FIRST_UID,
    FIRST_UID_IN_NAMESPACE,
    RANGE,
    claim_uid_range,
    first_uid,
)
from khala.execution.user_group import task_owner


@pytest.mark.parametrize(
    ("wish", "default", "ceiling", "held"),
    [
        (None, None, None, 0), (0, None, None, 0), (7, None, None, 7), (None, 5, None, 5), (9, 5, None, 9),
        (None, 5, 8, 5), (None, None, 8, 8), (0, 9, 8, 8), (8, 5, 8, 8),
    ],
)  # fmt: skip
def test_wish_default_and_ceiling(
    tmp_path: Path, wish: int | None, default: int | None, ceiling: int | None, held: int
) -> None:
    settings = ExecutionSettings(
        slots=1, workspace_root=tmp_path,
        default_limits=Limits(processes=default), ceilings=Limits(processes=ceiling),
    )  # fmt: skip
    assert phase_limits("execute", Limits(processes=wish), settings)["processes"] == held


def test_a_wish_above_the_ceiling(root: Path) -> None:
    bench = opened(root, ceilings=Limits(wall_time_s=10.0, memory_bytes=1 << 30))
    try:
        spec = TaskSpec(
            compile=Command(shell="true", limits=Limits(memory_bytes=(1 << 30) + 1)),
            execute=Command(shell="true"),
        )
        outcome = bench.run(spec).outcome
        assert outcome.exit_reason is ExitReason.SETUP_FAILED
        assert (
            outcome.reason
            == "compile asks for memory_bytes 1073741825; this executor allows at most 1073741824"
        )
        assert bench.run(script("sleep 0.01")).outcome.succeeded, "and the slot takes another"
    finally:
        bench.pool.close()
    with pytest.raises(Unrunnable):
        phase_limits("execute", Limits(wall_time_s=11.0), ExecutionSettings(
            slots=1, workspace_root=root, ceilings=Limits(wall_time_s=10.0)
        ))  # fmt: skip


def test_strict_never_falls_back(bench: Bench) -> None:
    spec = TaskSpec(execute=Command(shell="true"), isolation=Isolation.STRICT)
    outcome = bench.run(spec).outcome
    assert outcome.exit_reason is ExitReason.SETUP_FAILED
    assert "isolation strict does not hold on this executor (none, basic do)" in outcome.reason


def test_uid_ranges_do_not_overlap(tmp_path: Path) -> None:
    first, second = claim_uid_range(3, tmp_path), claim_uid_range(3, tmp_path)
    assert (first.base, second.base) == (first_uid() + 3 * RANGE, first_uid() + 4 * RANGE)
    first.release()
    again = claim_uid_range(3 + RANGE, tmp_path)
    assert again.base == first.base, "the number counts in a ring, and a free range is taken again"
    for held in (second, again):
        held.release()


def test_uid_ranges_run_out(tmp_path: Path) -> None:
    held = [claim_uid_range(0, tmp_path) for _ in range(RANGE)]
    with pytest.raises(ConfigurationError, match="stop one first"):
        claim_uid_range(0, tmp_path)
    for one in held:
        one.release()


@pytest.mark.parametrize(("text", "why"), [
    ("root", "never run as root"), ("0:0", "never run as root"), ("nobody:root", "never run as root"),
    ("no-such-user", "no user 'no-such-user'"), ("nobody:no-such-group", "no group"),
    ("54321", "needs a group"),
])  # fmt: skip
def test_users_that_tasks_cannot_have(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        task_owner(text)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
def test_one_user_for_all_slots(open_folder: Path) -> None:
    assert task_owner("") is None
    owner = task_owner("64150:64151")
    assert owner == (64150, 64151)
    bench = opened(new_root(open_folder), shared_owner=owner)
    try:
        end = bench.run(script("id -u; id -g; id -G"), slot=1)
        assert end.outcome.result is not None
        assert end.outcome.result.execute is not None
        assert end.outcome.result.execute.stdout.head.split() == [b"64150", b"64151", b"64151"]
        assert "uid:shared" in end.outcome.result.enforced
    finally:
        bench.pool.close()


def test_measuring_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "big").write_bytes(b"x" * 100_000)
    (tmp_path / "linked").hardlink_to(tmp_path / "a" / "b" / "big")
    (tmp_path / "out").symlink_to("/usr")
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 30)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        use = measure(fd)
        assert 100_000 <= use.size_bytes < 130_000
        assert use.largest_file_bytes == 1 << 30
        assert use.whole
        assert not use.over
        assert measure(fd, 50_000).over
    finally:
        os.close(fd)


def test_the_first_uid_is_one_that_the_user_namespace_has(tmp_path: Path) -> None:
    uid_map = tmp_path / "uid_map"
    for text, expected in (
        ("         0          0 4294967295\n", FIRST_UID),
        ("         0     100000      65536\n", FIRST_UID_IN_NAMESPACE),
        ("0 1000 1\n1 100000 65536\n", FIRST_UID_IN_NAMESPACE),
    ):
        uid_map.write_text(text)
        assert first_uid(uid_map) == expected
