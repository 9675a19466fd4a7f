"""Holds one phase within its limits: control group and rlimits at its start, looks at what it uses
while it runs, and tells at the end what it used and what held.

The launcher's thread. What needs no look costs none: between two looks
the launcher sleeps.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import NamedTuple

from .cgroup import GroupUse, TaskGroup
from .children import Reaper, now_s
from .disk_use import DiskUse, measure
from .limits import PhaseLimits
from .rlimits import Rlimit, rlimits_for
from .slot import Slot
from .tree import cpu_time_of, descendants

LOOK_EVERY_S = 0.2
LOOK_SHARE = 10
SOONEST_CPU_LOOK_S = 0.02


class Disk(NamedTuple):
    """The workspace. `tmpfs_bytes` is the size of its own file system, or 0 if it has none."""

    fd: int
    tmpfs_bytes: int


class Guard:
    """One phase's. `extra_processes` are those of the box, which do not count as the task's."""

    def __init__(
        self,
        slot: Slot,
        limits: PhaseLimits,
        disk: Disk,
        *,
        group: TaskGroup | None,
        extra_processes: int = 0,
    ) -> None:
        self._slot = slot
        self._disk = disk
        self._extra = extra_processes
        self._reaper = Reaper(0)
        self._next_look_s = 0.0
        self._next_cpu_s = 0.0
        self._open = False
        self.limits = limits
        self.group = group
        self.use = GroupUse()
        self.disk_use = DiskUse()

    @property
    def enforced(self) -> tuple[str, ...]:
        """The names of what holds (docs/isolation.md has the list)."""
        group = self.group
        return _names(
            self.limits,
            frozenset() if group is None else group.enforces,
            "" if group is None else group.label,
            counts=self._own_count,
            exact=self._disk_is_exact,
        )

    @property
    def _disk_is_exact(self) -> bool:
        return bool(self._disk.tmpfs_bytes) and self._disk.tmpfs_bytes <= self.limits.disk_bytes

    @property
    def _own_count(self) -> bool:
        """Must the processes be counted by looking?"""
        holds = self.group is not None and "pids" in self.group.enforces
        return bool(self.limits.processes) and not holds and not self._slot.uid_is_own

    def open(self) -> None:
        """Make the group; `close` must follow."""
        if self.group is not None:
            self._open = True
            limits = self.limits
            processes = limits.processes and limits.processes + self._extra
            self.group.open(
                memory_bytes=limits.memory_bytes, processes=processes, least_processes=1 + self._extra
            )

    @property
    def entrances(self) -> list[int]:
        """The descriptors by which the child enters the group."""
        return [] if self.group is None else self.group.entrances

    @property
    def rlimits(self) -> tuple[Rlimit, ...]:
        """What the child sets for itself before it gives up root."""
        held = frozenset[str]() if self.group is None else self.group.enforces
        processes = 0
        if self.limits.processes and "pids" not in held:
            # RLIMIT_NPROC counts all that the user runs: exact for a slot's own user, and for another
            # one only a stop for fork bombs between two looks.
            processes = self.limits.processes + self._extra + self._slot.other_processes
        return rlimits_for(self.limits, processes=processes, memory="memory" not in held)

    def start(self, reaper: Reaper, started_s: float) -> None:
        """The phase runs since `started_s` (`now_s`); `reaper` counts its ended processes."""
        self._reaper = reaper
        self._next_look_s = started_s + LOOK_EVERY_S
        self._next_cpu_s = started_s + self.limits.cpu_time_s / self._slot.cpus

    @property
    def next_look_s(self) -> float | None:
        """When `look` wants to be called, on the clock of `now_s`; None: never."""
        limits = self.limits
        watched = limits.disk_bytes or self._own_count or (limits.memory_bytes and self.group is not None)
        due = ([self._next_look_s] if watched else []) + ([self._next_cpu_s] if limits.cpu_time_s else [])
        return min(due, default=None)

    def look(self) -> str:
        """The exit reason of a limit that is exceeded now, or ""."""
        now = now_s()
        if self.limits.cpu_time_s and now >= self._next_cpu_s:
            left_s = self.limits.cpu_time_s - self.cpu_s()
            if left_s <= 0:
                return "cpu_time_limit"
            self._next_cpu_s = now + max(SOONEST_CPU_LOOK_S, left_s / self._slot.cpus)
        if now < self._next_look_s:
            return ""
        exceeded = self._look_around()
        # A look at a large workspace takes long: let it not take the launcher's whole time.
        took_s = now_s() - now
        self._next_look_s = now + max(LOOK_EVERY_S, took_s * LOOK_SHARE)
        return exceeded

    def _look_around(self) -> str:
        if self.group is not None and self.limits.memory_bytes and self.group.use().memory_kills:
            return "memory_limit"
        if self._own_count and len(descendants()) > self.limits.processes + self._extra:
            return "process_limit"
        if self.limits.disk_bytes and not self._disk_is_exact:
            free = os.fstatvfs(self._disk.fd)
            if free.f_bavail * free.f_frsize < self._slot.reserve_bytes and not self._disk.tmpfs_bytes:
                return "disk_reserve"
            if measure(self._disk.fd, self.limits.disk_bytes).over:
                return "disk_limit"
        return ""

    def cpu_s(self) -> float:
        """CPU time of the phase's whole tree so far, in seconds."""
        counted = 0.0 if self.group is None else self.group.cpu_s()
        return counted or self._reaper.cpu_user_s + self._reaper.cpu_system_s + cpu_time_of(descendants())

    def close(self, *, gone: bool) -> None:
        """Take the last figures; remove the group if all its processes are `gone`."""
        if self.group is not None and self._open:
            self._open = False
            self.use = self.group.use()
            if gone:
                self.group.close()
        self.disk_use = measure(self._disk.fd)

    @property
    def processes(self) -> int:
        """The most processes of the task at once, as far as they were counted."""
        return max(0, self.use.processes - self._extra)

    @property
    def holds_much(self) -> bool:
        """At the end: is this workspace as large as the reserve? A smaller one did not fill the disk."""
        return self.disk_use.size_bytes >= self._slot.reserve_bytes

    @property
    def disk_is_over(self) -> bool:
        """At the end: is more in the workspace than allowed?"""
        return not self._disk_is_exact and 0 < self.limits.disk_bytes < self.disk_use.size_bytes

    @property
    def disk_is_full(self) -> bool:
        """At the end: has the workspace's own file system no room?"""
        if not self._disk_is_exact:
            return False
        free = os.fstatvfs(self._disk.fd)
        return free.f_bavail == 0 or free.f_ffree == 0


@lru_cache(maxsize=64)
def _names(
    limits: PhaseLimits, held: frozenset[str], label: str, *, counts: bool, exact: bool
) -> tuple[str, ...]:
    """What holds, by name. `counts`: the processes are counted by looking; `exact`: the disk limit is that of
    a file system."""
    bounds = (
        ("wall_time", limits.wall_time_s), ("cpu_time", limits.cpu_time_s),
        ("open_files", limits.open_files), ("file_size", limits.file_size_bytes),
        ("output", limits.output_bytes),
        ("memory" if "memory" in held else "memory:each-process", limits.memory_bytes),
        ("processes:watched" if counts else "processes", limits.processes),
        ("disk:tmpfs" if exact else "disk:watched", limits.disk_bytes),
    )  # fmt: skip
    return (*(f"{label}:{name}" for name in sorted(held)), *(name for name, bound in bounds if bound))
