"""Workspaces that are over: emptied, and out of the way until the zygote removes them.

Removing a directory waits for the file system's journal: for 1 to 4 ms where databases sync on the same
disk (ext4), and the end of an attempt would wait for it. A rename does not. The folder lies beside the
workspaces' root, for it must be on the same mount. The launcher's thread puts, the zygote's removes.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH102, PTH106, PTH208

from __future__ import annotations

import contextlib
import os
import stat

from . import workspace

SUFFIX = ".ended"
MODE = 0o700


class Ended:
    """The folder of a root. It is the own user's, and nobody else can enter it."""

    def __init__(self, path: str, fd: int) -> None:
        self._path = path
        self._fd = fd

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
            return cls(path, fd)
        os.close(fd)
        return None

    def put(self, root_fd: int, name: str, *, is_empty: bool = False) -> bool:
        """Take workspace `name`, whose last process is gone, out of the root; False, and nothing done, if it
        is not empty or cannot be moved. `is_empty` says that it has been looked at."""
        try:
            if not is_empty and _has_entries(root_fd, name):
                return False
            os.rename(name, name, src_dir_fd=root_fd, dst_dir_fd=self._fd)
        except OSError:
            return False
        return True

    def clear(self) -> bool:
        """Remove all that is in there; was there anything?"""
        names = os.listdir(self._fd)
        for name in names:
            # What resists is tried again the next time.
            with contextlib.suppress(OSError):
                workspace.remove(self._fd, name)
        return bool(names)

    def close(self) -> None:
        """Remove the folder too, when the last launcher is gone."""
        self.clear()
        os.close(self._fd)
        with contextlib.suppress(OSError):
            os.rmdir(self._path)


def _has_entries(root_fd: int, name: str) -> bool:
    fd = os.open(name, workspace.OPEN_DIRECTORY, dir_fd=root_fd)
    try:
        return bool(os.listdir(fd))
    finally:
        os.close(fd)
