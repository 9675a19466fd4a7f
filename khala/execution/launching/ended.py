"""Workspaces that are over: emptied, and out of the way until the zygote removes them. And those to come:
each slot's next one is made in here while the slot is idle.

Removing a directory waits for the file system's journal: for 1 to 4 ms where databases sync on the same
disk (ext4), and the end of an attempt would wait for it; making one takes 0.1 to 0.4 ms, the more the more
were removed of late (ext4 without a journal). A rename does not. The folder lies beside the
workspaces' root, for it must be on the same mount. The launcher's thread makes, takes and puts, the
zygote's removes.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH102, PTH106, PTH208

from __future__ import annotations

import contextlib
import os
import stat

from . import workspace
from .spreading import spread

SUFFIX = ".ended"
NEXT = "next-"
MODE = 0o700


class Ended:
    """The folder of a root. It is the own user's, and nobody else can enter it."""

    def __init__(self, path: str, fd: int) -> None:
        self._path = path
        self.fd = fd

    @classmethod
    def beside(cls, root: str) -> Ended | None:
        """Have the folder; None if it cannot be had, or is not what it should be."""
        path = root + SUFFIX
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, MODE)
            fd = os.open(path, workspace.OPEN_DIRECTORY)
        except OSError:
            return None
        found = os.fstat(fd)
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == MODE:
            spread(fd)
            return cls(path, fd)
        os.close(fd)
        return None

    def put(self, root_fd: int, name: str, *, is_empty: bool = False) -> bool:
        """Take workspace `name`, whose last process is gone, out of the root; False, and nothing done, if it
        is not empty or cannot be moved. `is_empty` says that it has been looked at."""
        try:
            if not is_empty and _has_entries(root_fd, name):
                return False
            os.rename(name, name, src_dir_fd=root_fd, dst_dir_fd=self.fd)
        except OSError:
            return False
        return True

    def make_next(self, slot: int, owner: tuple[int, int] | None) -> int:
        """Have a workspace ready for `slot`'s next attempt: its descriptor. OSError if it cannot be made."""
        return workspace.create(self.fd, self.next_of(slot), owner)

    def take_next(self, slot: int, root_fd: int, name: str) -> None:
        """Move the one that this process made ready to the root as `name`. OSError if it cannot be."""
        os.rename(self.next_of(slot), name, src_dir_fd=self.fd, dst_dir_fd=root_fd)

    @staticmethod
    def next_of(slot: int) -> str:
        """The name of what this process makes ready: one that it replaces may not have ended yet."""
        return f"{NEXT}{slot}-{os.getpid()}"

    def sweep_next(self, slot: int, slots: int) -> None:
        """Remove what earlier launchers of the slot, of `slots`, had ready."""
        for name in os.listdir(self.fd):
            number = name.removeprefix(NEXT).partition("-")[0]
            if name.startswith(NEXT) and int(number) % slots == slot:
                workspace.remove(self.fd, name)

    def clear(self) -> bool:
        """Remove all that is over; was there anything?"""
        return self._remove([name for name in os.listdir(self.fd) if not name.startswith(NEXT)])

    def _remove(self, names: list[str]) -> bool:
        for name in names:
            # What resists is tried again the next time.
            with contextlib.suppress(OSError):
                workspace.remove(self.fd, name)
        return bool(names)

    def close(self) -> None:
        """Remove the folder too, when the last launcher is gone."""
        self._remove(os.listdir(self.fd))
        os.close(self.fd)
        with contextlib.suppress(OSError):
            os.rmdir(self._path)


def _has_entries(root_fd: int, name: str) -> bool:
    fd = os.open(name, workspace.OPEN_DIRECTORY, dir_fd=root_fd)
    try:
        return bool(os.listdir(fd))
    finally:
        os.close(fd)
