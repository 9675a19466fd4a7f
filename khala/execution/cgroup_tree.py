"""An executor's own folder of control groups: made, swept of an earlier life's leftovers, removed.

The executor's thread that starts and closes the pool. A group for each slot lies in it; the slot's
launcher makes one in there for each phase (khala.execution.launching.cgroup).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from khala.errors import Fault
from khala.execution.cgroup_hosts import MAIN, Places, find_places

SHARES_PER_SLOT = 512
WEIGHT = 50
WANTED = ("pids", "memory", "cpu")
SWEPT_WITHIN_S = 20.0


class CgroupTree:
    """The folder `name` in every hierarchy. Only one process at a time may use a name."""

    def __init__(self, version: int, folders: dict[str, Path]) -> None:
        self.version = version
        self._folders = folders

    @classmethod
    def here(cls, name: str) -> CgroupTree:
        """Make the folders on this host, as far as it allows. Fault, with the reason, if it has none or
        allows none."""
        root = os.geteuid() == 0
        places = find_places(
            Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text(), root=root
        )
        if places is None:
            raise Fault("no control groups are mounted")
        return cls.made(places, name)

    @classmethod
    def made(cls, places: Places, name: str) -> CgroupTree:
        """Make the folders where it is possible; leftovers of the same name are ended and removed."""
        folders: dict[str, Path] = {}
        freezers = [parent / name for parent in places.parents.get("freezer", ())]
        refused = ""
        for controller, parents in places.parents.items():
            for parent in parents:
                try:
                    _sweep(parent / name, freezers)
                    (parent / name).mkdir()
                    if places.version == 2:
                        _hand_down(parent, parent / name)
                except OSError as error:
                    refused = f"{parent}: {error.strerror}"
                    with contextlib.suppress(OSError):
                        (parent / name).rmdir()
                    continue
                folders[controller] = parent / name
                break
        tree = cls(places.version, folders)
        if (places.version == 1 and "pids" not in folders) or not folders:
            tree.remove()
            raise Fault(f"no control group can be made here ({refused}); run as root, or delegate a subtree")
        return tree

    @property
    def controllers(self) -> frozenset[str]:
        """What the slots' groups can hold and count."""
        if self.version == 1:
            return frozenset(self._folders)
        return frozenset((self._folders[""] / "cgroup.subtree_control").read_text().split())

    def make_slots(self, slots: int, memory_bytes: int) -> None:
        """A group for each slot; `memory_bytes` (0: no limit) bounds all of them together."""
        self._set("cpu", "cpu.shares", SHARES_PER_SLOT * slots)
        self._set("", "cpu.weight", WEIGHT)
        if memory_bytes:
            self._set("memory", "memory.limit_in_bytes", memory_bytes)
            self._set("memory", "memory.memsw.limit_in_bytes", memory_bytes)
            self._set("", "memory.max", memory_bytes)
        for folder in set(self._folders.values()):
            for slot in range(slots):
                group = folder / f"slot-{slot}"
                group.mkdir()
                if self.version == 2:
                    _enable(group, frozenset(WANTED))

    def request(self, slot: int) -> dict[str, Any]:
        """What the slot's launcher needs to know."""
        return {
            "version": self.version,
            "folders": {name: f"{folder}/slot-{slot}" for name, folder in self._folders.items()},
            "controllers": sorted(self.controllers),
        }

    def remove(self) -> None:
        """End what is in it, and remove it. May be called again. Fault if something cannot be ended."""
        freezers = [folder for controller, folder in self._folders.items() if controller == "freezer"]
        for folder in self._folders.values():
            try:
                _sweep(folder, freezers)
            except OSError as error:
                raise Fault(f"control group {folder} cannot be removed: {error.strerror}") from error

    def _set(self, controller: str, file: str, value: int) -> None:
        folder = self._folders.get(controller)
        if folder is not None and (folder / file).exists():
            (folder / file).write_text(str(value))


def _hand_down(parent: Path, folder: Path) -> None:
    """Version 2: have the controllers in `folder`, and so below it."""
    try:
        _enable(parent, frozenset(WANTED))
    except OSError as error:
        if error.errno != errno.EBUSY or not _only_ours(parent):
            raise
        # A group with processes cannot hand controllers down: step aside into one of our own.
        (parent / MAIN).mkdir(exist_ok=True)
        for pid in _pids(parent):
            (parent / MAIN / "cgroup.procs").write_text(str(pid))
        _enable(parent, frozenset(WANTED))
    _enable(folder, frozenset(WANTED))


def _enable(group: Path, wanted: frozenset[str]) -> None:
    has = set((group / "cgroup.controllers").read_text().split())
    on = set((group / "cgroup.subtree_control").read_text().split())
    for name in sorted((wanted & has) - on):
        (group / "cgroup.subtree_control").write_text(f"+{name}")


def _only_ours(group: Path) -> bool:
    """Is this process the only one in the group?"""
    return _pids(group) == [os.getpid()]


def _pids(group: Path) -> list[int]:
    return [int(line) for line in (group / "cgroup.procs").read_text().split()]


def _groups_below(folder: Path) -> Iterator[Path]:
    """`folder` and all groups in it, the innermost first."""
    if folder.is_dir():
        for inner in folder.iterdir():
            if inner.is_dir():
                yield from _groups_below(inner)
        yield folder


def _thaw(freezers: Iterable[Path]) -> None:
    for folder in freezers:
        for group in _groups_below(folder):
            if (group / "freezer.state").exists():
                (group / "freezer.state").write_text("THAWED")


def _sweep(folder: Path, freezers: Iterable[Path]) -> None:
    """Kill what is in the groups of an earlier life and remove them. OSError if that has no end.

    A launcher that was killed while it ended a task leaves it frozen, and what is frozen does not die:
    `freezers` are thawed whatever hierarchy `folder` is in.
    """
    deadline_s = time.monotonic() + SWEPT_WITHIN_S
    for group in _groups_below(folder):
        while True:
            _thaw(freezers)
            pids = _pids(group)
            if (group / "pids.max").exists() and pids:
                (group / "pids.max").write_text("0")
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                group.rmdir()
                break
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY) or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.005)
