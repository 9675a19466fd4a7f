"""Control groups of version 2: one hierarchy, cgroup.kill, peaks and events of its own."""
# Works by names of control files and starts without pathlib.
# ruff: noqa: PTH102

from __future__ import annotations

import contextlib
import os
import signal

from .cgroup import PHASE, GroupUse, TaskGroup, pids_in, read_field, read_int, remove_group, write


class GroupV2(TaskGroup):
    """`folder` is the slot's; `controllers` are those that its children have."""

    label = "cgroup-v2"

    def __init__(self, folder: str, controllers: frozenset[str]) -> None:
        self._group = f"{folder}/{PHASE}"
        self._entrances: list[int] = []
        self.enforces = controllers & {"pids", "memory", "cpu"}

    def _make(self) -> None:
        os.mkdir(self._group)
        self._entrances.append(os.open(f"{self._group}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))

    def _bound(self, memory_bytes: int, processes: int, least_processes: int) -> None:
        if processes and "pids" in self.enforces:
            write(f"{self._group}/pids.max", processes)
        if memory_bytes and "memory" in self.enforces:
            write(f"{self._group}/memory.max", memory_bytes)
            with contextlib.suppress(FileNotFoundError):
                # Absent on a kernel without swap.
                write(f"{self._group}/memory.swap.max", 0)
            write(f"{self._group}/memory.oom.group", 1)

    @property
    def entrances(self) -> list[int]:
        return self._entrances

    def pids(self) -> list[int]:
        return pids_in(f"{self._group}/cgroup.procs")

    def kill(self) -> None:
        """cgroup.kill, since Linux 5.14; before that one by one behind a closed pids.max or a freeze."""
        with contextlib.suppress(FileNotFoundError):
            write(f"{self._group}/cgroup.kill", 1)
            return
        for name, value in (("pids.max", 0), ("cgroup.freeze", 1)):
            with contextlib.suppress(FileNotFoundError):
                write(f"{self._group}/{name}", value)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(FileNotFoundError):
            write(f"{self._group}/cgroup.freeze", 0)

    def use(self) -> GroupUse:
        return GroupUse(
            memory_bytes=read_int(f"{self._group}/memory.peak"),
            processes=read_int(f"{self._group}/pids.peak"),
            memory_kills=read_field(f"{self._group}/memory.events", "oom_kill"),
            processes_refused=read_field(f"{self._group}/pids.events", "max"),
        )

    def cpu_s(self) -> float:
        return read_field(f"{self._group}/cpu.stat", "usage_usec") / 1e6

    def _close(self) -> None:
        while self._entrances:
            os.close(self._entrances.pop())
        remove_group(self._group)
