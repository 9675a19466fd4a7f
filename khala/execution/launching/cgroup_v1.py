"""Control groups of version 1: a hierarchy per controller, and no kill of its own.

The fresh group of a phase exists where counters must start anew (pids, memory); where only
membership counts (cpu, cpuacct, freezer) the slot's own group serves.
"""
# Works by names of control files and starts without pathlib.
# ruff: noqa: PTH102

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping

from .cgroup import PHASE, GroupUse, TaskGroup, pids_in, read, read_field, read_int, remove_group, write

FRESH = ("pids", "memory")
FREEZE_WITHIN_S = 0.1


class GroupV1(TaskGroup):
    """`folders` maps each controller to the slot's folder in its hierarchy; pids must be one of them."""

    label = "cgroup-v1"

    def __init__(self, folders: Mapping[str, str]) -> None:
        # Controllers may share a hierarchy, and a process is in one group of each.
        fresh = {folders[name] for name in FRESH if name in folders}
        self._groups = {
            name: f"{folder}/{PHASE}" if folder in fresh else folder for name, folder in folders.items()
        }
        self._memory = self._groups.get("memory", "")
        self._pids = self._groups["pids"]
        swap_limit = f"{self._memory.removesuffix(PHASE)}memory.memsw.limit_in_bytes"
        self._has_swap_limit = bool(self._memory) and os.access(swap_limit, os.W_OK)
        self.enforces = frozenset(self._groups) & {"pids", "memory", "cpu"}

    def _make(self) -> None:
        for name in FRESH:
            if name in self._groups:
                os.mkdir(self._groups[name])
        if "cpuacct" in self._groups:
            write(f"{self._groups['cpuacct']}/cpuacct.usage", 0)

    def _bound(self, memory_bytes: int, processes: int) -> None:
        if processes:
            write(f"{self._pids}/pids.max", processes)
        if memory_bytes and self._memory:
            write(f"{self._memory}/memory.limit_in_bytes", memory_bytes)
            if self._has_swap_limit:
                write(f"{self._memory}/memory.memsw.limit_in_bytes", memory_bytes)

    @property
    def entrances(self) -> list[str]:
        # A thread moves itself at once; for a whole process (cgroup.procs) the kernel first waits until
        # no process of the host forks or ends: 4-9 ms, unless it has just done so (Linux 5.5 and later).
        return [f"{group}/tasks" for group in set(self._groups.values())]

    def pids(self) -> list[int]:
        return pids_in(f"{self._pids}/cgroup.procs")

    def kill(self) -> None:
        """No fork succeeds at pids.max 0, and frozen ones do not end, so that no number is reused."""
        with contextlib.suppress(FileNotFoundError):
            write(f"{self._pids}/pids.max", 0)
        freezer = self._groups.get("freezer")
        try:
            if freezer is not None:
                _freeze(freezer)
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        finally:
            if freezer is not None:
                write(f"{freezer}/freezer.state", "THAWED")

    def use(self) -> GroupUse:
        return GroupUse(
            memory_bytes=read_int(f"{self._memory}/memory.max_usage_in_bytes") if self._memory else 0,
            processes=read_int(f"{self._pids}/pids.peak"),
            memory_kills=read_field(f"{self._memory}/memory.oom_control", "oom_kill") if self._memory else 0,
            processes_refused=read_field(f"{self._pids}/pids.events", "max"),
        )

    def cpu_s(self) -> float:
        return (
            read_int(f"{self._groups['cpuacct']}/cpuacct.usage") / 1e9 if "cpuacct" in self._groups else 0.0
        )

    def close(self) -> None:
        for name in FRESH:
            if name in self._groups:
                remove_group(self._groups[name])


def _freeze(path: str) -> None:
    """Ask for the freeze and wait for it, though not for a process that the kernel holds."""
    write(f"{path}/freezer.state", "FROZEN")
    deadline_s = time.monotonic() + FREEZE_WITHIN_S
    while read(f"{path}/freezer.state").strip() != "FROZEN" and time.monotonic() < deadline_s:
        time.sleep(0.0005)
