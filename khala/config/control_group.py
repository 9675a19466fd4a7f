"""What this process's control groups leave it of the host: `docker run --memory --cpus` seen from within.

Reads files of cgroups(7), version 2 and 1; changes nothing. What cannot be read bounds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

OWN = Path("/proc/self/cgroup")
MOUNTS = Path("/sys/fs/cgroup")


def memory_limit(own: Path = OWN, mounts: Path = MOUNTS) -> float:
    """Bytes; infinite if there is no limit."""
    return min(
        _lowest("memory", own, mounts, lambda group: float((group / "memory.limit_in_bytes").read_text())),
        _lowest("", own, mounts, lambda group: float(_words(group / "memory.max")[0])),
    )


def cpu_limit(own: Path = OWN, mounts: Path = MOUNTS) -> float:
    """CPUs, by quota and period; infinite if there is no limit."""

    def of_version_1(group: Path) -> float:
        quota = float((group / "cpu.cfs_quota_us").read_text())
        return quota / float((group / "cpu.cfs_period_us").read_text()) if quota > 0 else float("inf")

    def of_version_2(group: Path) -> float:
        quota, period = _words(group / "cpu.max")
        return float(quota) / float(period)

    return min(_lowest("cpu", own, mounts, of_version_1), _lowest("", own, mounts, of_version_2))


def _words(file: Path) -> list[str]:
    """`max`, the kernel's word for no limit, is infinite."""
    return file.read_text().replace("max", "inf").split()


def _lowest(controller: str, own: Path, mounts: Path, read: Callable[[Path], float]) -> float:
    """The lowest limit of the own group and of those around it."""
    lowest = float("inf")
    for group in _groups(controller, own, mounts):
        try:
            lowest = min(lowest, read(group))
        except (OSError, ValueError, IndexError):
            continue
    return lowest


def _groups(controller: str, own: Path, mounts: Path) -> Iterator[Path]:
    """In a container the own group is the mount itself, whatever its path is outside."""
    mount = mounts / controller
    yield mount
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            group = mount / path.lstrip("/")
            yield from (one for one in (group, *group.parents) if one.is_relative_to(mount))
