"""What control groups leave a process, read from files as the kernel has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from khala.config.control_group import cpu_limit, memory_limit

INFINITE = float("inf")


def write(root: Path, own: str, **files: str) -> tuple[Path, Path]:
    """The text of /proc/self/cgroup, and files below the mounts; `__` in a name is `/`, `-` is `.`."""
    (root / "own").write_text(own)
    mounts = root / "mounts"
    for name, text in files.items():
        file = mounts / name.replace("__", "/").replace("-", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root / "own", mounts


def test_in_a_container_of_version_2_the_mount_is_the_own_group(tmp_path: Path) -> None:
    where = write(tmp_path, "0::/\n", **{"memory-max": "536870912\n", "cpu-max": "150000 100000\n"})
    assert (memory_limit(*where), cpu_limit(*where)) == (512 << 20, 1.5)


def test_a_group_is_bound_by_those_around_it(tmp_path: Path) -> None:
    files = {"a__memory-max": "1000\n", "a__b__memory-max": "max\n", "a__b__cpu-max": "max 100000\n"}
    where = write(tmp_path, "0::/a/b\n", **files)
    assert (memory_limit(*where), cpu_limit(*where)) == (1000, INFINITE)


def test_version_1_has_a_hierarchy_for_each(tmp_path: Path) -> None:
    files = {
        "memory__docker__x__memory-limit_in_bytes": "4096\n",
        "cpu__docker__x__cpu-cfs_quota_us": "50000\n",
        "cpu__docker__x__cpu-cfs_period_us": "100000\n",
        "cpu__cpu-cfs_quota_us": "-1\n",
    }
    where = write(tmp_path, "4:memory:/docker/x\n2:cpu:/docker/x\n", **files)
    assert (memory_limit(*where), cpu_limit(*where)) == (4096, 0.5)


@pytest.mark.parametrize("text", ["", "many\n"])
def test_what_cannot_be_read_bounds_nothing(tmp_path: Path, text: str) -> None:
    where = write(tmp_path, "0::/\n", **{"memory-max": text, "cpu-max": text})
    assert (memory_limit(*where), cpu_limit(*where)) == (INFINITE, INFINITE)
    assert memory_limit(tmp_path / "none", tmp_path) == INFINITE
