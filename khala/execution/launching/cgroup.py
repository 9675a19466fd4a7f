"""A control group for one phase: what a driver does, whichever version of cgroups the host has.

Used by the launcher. The executor has made the folder of each slot before
(khala.execution.cgroup_tree). The group itself is made anew for a phase, while the slot is idle, unless
the driver can prove that the one before left nothing in it that counts: on version 1 making and removing
both groups costs 190 µs here, and the kernel's own threads another 100.
"""

# Works by names of control files and starts without pathlib.
# ruff: noqa: PTH106

from __future__ import annotations

import contextlib
import errno
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

PHASE = "phase"
READ_BYTES = 8192
REMOVE_WITHIN_S = 0.3
CLEARED_WITHIN_S = 5.0
BUSY = (errno.EBUSY, errno.ENOTEMPTY)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupUse:
    """What a group has used so far. Zero where the host does not count it."""

    memory_bytes: int = 0
    processes: int = 0
    memory_kills: int = 0
    processes_refused: int = 0


class RowFiles(NamedTuple):
    """Descriptors of the files with the figures that `TaskGroup.take` takes, in order, and of the one that
    takes "0" to count CPU time anew, -1 for none; and how many processes and bytes may have been in the group
    and be left in it for another command to run there."""

    figures: tuple[int, ...]
    cpu: int
    most_processes: int
    most_left_bytes: int


class TaskGroup(ABC):
    """`prepare` if there is time, `open`, then `entrances` for the child, and at the end `kill` until
    `pids` is empty, `use`, `close`.

    `enforces` holds the names of what it can hold: `memory`, `pids`, `cpu`; `label` is the version. Where it
    `runs_rows`, one command may follow another in it without `close` and `open` (`row`, `take`).
    OSError from every method if the host does not do as it did when it was probed.
    """

    label: str
    enforces: frozenset[str]
    runs_rows = False
    _is_prepared = False
    _opened: tuple[int, int, int] | None = None

    def prepare(self) -> None:
        """Make the group ahead if that can be done; `open` tells why not."""
        with contextlib.suppress(OSError):
            self._make()
            self._is_prepared = True

    def open(self, *, memory_bytes: int, processes: int, least_processes: int = 1) -> None:
        """Have the group; 0 is no limit. A leftover of the same name is ended and removed first. There will
        be `least_processes` in it at once, whatever the task does. One that is open so is left as it is."""
        asked = (memory_bytes, processes, least_processes)
        if self._opened == asked:
            return
        if not self._is_prepared:
            try:
                self._make()
            except FileExistsError:
                self.clear()
                self._make()
        self._is_prepared = False
        self._bound(*asked)
        self._opened = asked

    @property
    def row(self) -> RowFiles:
        """What `brief.c` needs for a row, while it is open."""
        raise LookupError(f"{self.label} runs no rows")

    def take(self, figures: Sequence[int]) -> GroupUse:
        """What the last command of a row has used, in place of `use`."""
        raise LookupError(f"{self.label} runs no rows: {figures}")

    @abstractmethod
    def _make(self) -> None:
        """Make it, with every counter at zero. FileExistsError if it exists."""

    @abstractmethod
    def _bound(self, memory_bytes: int, processes: int, least_processes: int) -> None:
        """Set its limits."""

    @property
    @abstractmethod
    def entrances(self) -> list[int]:
        """Descriptors of files that each take "0" to move the calling process, which must have one thread
        only, and all that it will fork, into the group. They are the group's own; an exec closes them."""

    @abstractmethod
    def pids(self) -> list[int]:
        """The processes in the group."""

    @abstractmethod
    def kill(self) -> None:
        """SIGKILL to all processes in the group; none escapes by forking."""

    @abstractmethod
    def use(self) -> GroupUse:
        """The peaks and events so far."""

    @abstractmethod
    def cpu_s(self) -> float:
        """CPU time of all that ran in the group, in seconds."""

    def close(self) -> None:
        """Let go of the group, which has no process any more: remove it, but for what is as good as new."""
        self._opened = None
        self._close()

    @abstractmethod
    def _close(self) -> None:
        """Do so."""

    def clear(self) -> None:
        """End and remove what a launcher that was killed has left; nothing left is no error."""
        deadline_s = time.monotonic() + CLEARED_WITHIN_S
        while self.pids() and time.monotonic() < deadline_s:
            self.kill()
            time.sleep(0.002)
        self.close()


def write(path: str, value: str | int) -> None:
    """Write a control file: one write(2), as the kernel wants it."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def read(path: str) -> str:
    """A control file's content; "" if there is none of this name."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        parts = []
        while data := os.read(fd, READ_BYTES):
            parts.append(data)
            if len(data) < READ_BYTES // 4:
                # Control files come in one piece, unless they are long lists.
                break
        return b"".join(parts).decode()
    finally:
        os.close(fd)


def read_int(path: str) -> int:
    """A control file that holds one number; 0 if there is none of this name."""
    text = read(path).strip()
    return int(text) if text.isdigit() else 0


def read_field(path: str, name: str) -> int:
    """The number after `name` in a control file of `name value` lines; 0 if it is not there."""
    return field_of(read(path), name)


def field_of(text: str, name: str) -> int:
    """The number after `name` among `name value` lines; 0 if it is not there."""
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def pids_in(path: str) -> list[int]:
    """The processes listed in a cgroup.procs file; none if the group is gone."""
    with contextlib.suppress(OSError):
        return [int(line) for line in read(path).split() if line != "0"]
    return []


def remove_group(path: str) -> None:
    """rmdir a group; a process just reaped may still be leaving it, so try for a moment."""
    deadline_s = time.monotonic() + REMOVE_WITHIN_S
    while True:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in BUSY or time.monotonic() > deadline_s:
                raise
            time.sleep(0.001)
        else:
            return
