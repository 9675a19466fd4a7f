"""Control groups of version 1: a hierarchy per controller, and no kill of its own.

The group of a phase exists where counters must start anew (pids, memory); where only membership counts
(cpu, cpuacct, freezer) the slot's own group serves.

A group serves the next phase too if nothing of the last one counts in it: pids after no more processes than
the next phase has at least, one or with its box three, of which none was refused (its peak cannot be set
back), memory after no kill and with little left charged (its peak can be set back to that, so a peak told is
never less than the true one).
"""
# Works by names of control files and starts without pathlib.
# ruff: noqa: PTH102

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache

from .cgroup import (
    PHASE,
    GroupUse,
    RowFiles,
    TaskGroup,
    field_of,
    pids_in,
    read,
    read_int,
    remove_group,
    write,
)

# A thread moves itself at once; for a whole process (cgroup.procs) the kernel first waits until no process
# of the host forks or ends: 4-9 ms, unless it has just done so (Linux 5.5 and later).
ENTRANCE = "tasks"
FRESH = {
    "pids": {ENTRANCE: os.O_WRONLY, "pids.peak": os.O_RDONLY, "pids.events": os.O_RDONLY},
    "memory": {
        ENTRANCE: os.O_WRONLY,
        "memory.max_usage_in_bytes": os.O_RDWR,
        "memory.oom_control": os.O_RDONLY,
        "memory.usage_in_bytes": os.O_RDONLY,
    },
}
PIDS_FIGURES = ("pids.peak", "pids.events")
MEMORY_FIGURES = ("memory.max_usage_in_bytes", "memory.oom_control", "memory.usage_in_bytes")
FREEZE_WITHIN_S = 0.1
LEFT_BYTES = 2 << 20
LEFT_SHARE = 64
"""At most so much, and this part of its memory limit, may be left charged in a group that serves again: a box
leaves a little more than 1 MiB."""
READ_BYTES = 4096


class _Counters:
    """The control files of a group that are used in every phase: open as long as the group exists."""

    def __init__(self, group: str, names: Mapping[str, int]) -> None:
        self._group = group
        self._names = names
        self._fds: dict[str, int] = {}

    def make(self) -> None:
        """Make the group; not every host has every file."""
        os.mkdir(self._group)
        for name in self._names:
            with contextlib.suppress(FileNotFoundError):
                self._fds[name] = os.open(f"{self._group}/{name}", self._names[name] | os.O_CLOEXEC)

    def fd(self, name: str) -> int:
        """Its descriptor; -1 without such a file."""
        return self._fds.get(name, -1)

    @property
    def entrance(self) -> int:
        """The descriptor by which a child enters."""
        return self._fds[ENTRANCE]

    def field(self, name: str, field: str) -> int:
        """The number after `field` in the file's lines; 0 if there is none."""
        return _field_of(self._read(name), field)

    def number(self, name: str) -> int:
        """The file's number; 0 if there is none."""
        data = self._read(name).strip()
        return int(data) if data.isdigit() else 0

    def _read(self, name: str) -> bytes:
        fd = self._fds.get(name)
        return b"" if fd is None else os.pread(fd, READ_BYTES, 0)

    def reset(self, name: str) -> None:
        """Set a peak back to what is used now."""
        os.pwrite(self._fds[name], b"0", 0)

    def remove(self) -> None:
        """Remove the group, in which no process is."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
        remove_group(self._group)


class GroupV1(TaskGroup):
    """`folders` maps each controller to the slot's folder in its hierarchy; pids must be one of them."""

    label = "cgroup-v1"
    runs_rows = True

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
        self._counters = {
            name: _Counters(self._groups[name], files)
            for name, files in FRESH.items()
            if name in self._groups
        }
        lasting = set(folders.values()) - fresh
        self._lasting = [os.open(f"{group}/{ENTRANCE}", os.O_WRONLY | os.O_CLOEXEC) for group in lasting]
        cpu = self._groups.get("cpuacct")
        self._cpu_reset = os.open(f"{cpu}/cpuacct.usage", os.O_WRONLY | os.O_CLOEXEC) if cpu else -1
        self._kept: set[str] = set()
        self._bounds: dict[str, int] = {}
        self._least_processes = 1
        self._left_peak = 0
        self._left_bytes = 0
        self._use: GroupUse | None = None
        self._killed = False
        self.enforces = frozenset(self._groups) & {"pids", "memory", "cpu"}

    def _make(self) -> None:
        for name, counters in self._counters.items():
            if name not in self._kept:
                counters.make()
        if self._cpu_reset >= 0:
            os.pwrite(self._cpu_reset, b"0", 0)

    def _bound(self, memory_bytes: int, processes: int, least_processes: int) -> None:
        wanted = {"memory": memory_bytes, "pids": processes}
        self._least_processes = least_processes
        for name in [name for name in self._kept if not self._can_keep(name, wanted[name])]:
            self._kept.discard(name)
            self._counters[name].remove()
            self._counters[name].make()
        self._use, self._killed = None, False
        if processes and "pids" not in self._kept:
            write(f"{self._pids}/pids.max", processes)
        if memory_bytes and self._memory and "memory" not in self._kept:
            write(f"{self._memory}/memory.limit_in_bytes", memory_bytes)
            if self._has_swap_limit:
                write(f"{self._memory}/memory.memsw.limit_in_bytes", memory_bytes)
        self._bounds = wanted
        self._kept.clear()

    def _can_keep(self, name: str, bound: int) -> bool:
        if bound != self._bounds[name]:
            return False
        if name == "pids":
            return self._left_peak <= self._least_processes
        return not bound or self._left_bytes * LEFT_SHARE <= bound

    @property
    def entrances(self) -> list[int]:
        return [*self._lasting, *(counters.entrance for counters in self._counters.values())]

    def pids(self) -> list[int]:
        return pids_in(f"{self._pids}/cgroup.procs")

    def kill(self) -> None:
        """No fork succeeds at pids.max 0, and frozen ones do not end, so that no number is reused."""
        self._killed = True
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

    @property
    def row(self) -> RowFiles:
        pids, memory, bound = self._counters["pids"], self._counters.get("memory"), self._bounds["memory"]
        figures = (
            *(pids.fd(name) for name in PIDS_FIGURES),
            *(memory.fd(name) if memory else -1 for name in MEMORY_FIGURES),
        )
        most_left_bytes = min(LEFT_BYTES, bound // LEFT_SHARE) if bound else LEFT_BYTES
        return RowFiles(figures, self._cpu_reset, self._least_processes, most_left_bytes)

    def use(self) -> GroupUse:
        pids, memory = self._counters["pids"], self._counters.get("memory")
        return self.take(
            (
                pids.number("pids.peak"),
                pids.field("pids.events", "max"),
                memory.number("memory.max_usage_in_bytes") if memory else 0,
                memory.field("memory.oom_control", "oom_kill") if memory else 0,
                memory.number("memory.usage_in_bytes") if memory else 0,
            )
        )

    def take(self, figures: Sequence[int]) -> GroupUse:
        processes, refused, memory_bytes, memory_kills, self._left_bytes = figures
        self._use = GroupUse(
            memory_bytes=memory_bytes,
            processes=processes,
            memory_kills=memory_kills,
            processes_refused=refused,
        )
        return self._use

    def cpu_s(self) -> float:
        return (
            read_int(f"{self._groups['cpuacct']}/cpuacct.usage") / 1e9 if "cpuacct" in self._groups else 0.0
        )

    def _close(self) -> None:
        use, memory = self._use, self._counters.get("memory")
        if (
            use is not None
            and not self._killed
            and not use.processes_refused
            and use.processes <= self._least_processes
        ):
            self._left_peak = use.processes
            self._kept.add("pids")
        left_little = use is not None and not use.memory_kills and self._left_bytes <= LEFT_BYTES
        if memory is not None and left_little:
            memory.reset("memory.max_usage_in_bytes")
            self._kept.add("memory")
        self._use = None
        for name, counters in self._counters.items():
            if name not in self._kept:
                counters.remove()

    def clear(self) -> None:
        self._kept.clear()
        super().clear()


@lru_cache(maxsize=64)
def _field_of(data: bytes, name: str) -> int:
    return field_of(data.decode(), name)


def _freeze(path: str) -> None:
    """Ask for the freeze and wait for it, though not for a process that the kernel holds."""
    write(f"{path}/freezer.state", "FROZEN")
    deadline_s = time.monotonic() + FREEZE_WITHIN_S
    while read(f"{path}/freezer.state").strip() != "FROZEN" and time.monotonic() < deadline_s:
        time.sleep(0.0005)
