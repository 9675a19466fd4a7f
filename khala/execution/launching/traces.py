"""Removing what a task left outside of its workspace: files of its uid in the folders that all may write.

The launcher's thread, after the attempt's last process is gone, and only where the uid is the slot's
own. A folder whose modification time has not changed since the last look costs one stat.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH116

from __future__ import annotations

import contextlib
import os
import time

from . import workspace

SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock")
# The time stamps of a file system are as coarse as the kernel's tick.
TICK_NS = 20_000_000
"""How old a folder's time stamp must be to prove that nothing came after it."""


class Traces:
    """What one launcher knows of the shared folders. `uid` is the slot's own."""

    def __init__(self, uid: int) -> None:
        self._uid = uid
        self._looked_at_ns: dict[str, int] = {}

    @property
    def changed_ns(self) -> list[int]:
        """From which time stamp on each of the folders, in the order of SHARED, is looked at."""
        return [self._looked_at_ns.get(folder, 0) - TICK_NS for folder in SHARED]

    def remove(self) -> None:
        """Remove every entry of the uid; OSError if one resists."""
        now_ns = time.time_ns()
        for folder in SHARED:
            try:
                if os.stat(folder).st_mtime_ns >= self._looked_at_ns.get(folder, 0) - TICK_NS:
                    self._looked_at_ns[folder] = now_ns
                    self._clear(folder)
            except FileNotFoundError:
                continue

    def _clear(self, folder: str) -> None:
        fd = os.open(folder, workspace.OPEN_DIRECTORY)
        try:
            with os.scandir(fd) as entries:
                own = [entry for entry in entries if self._is_own(entry)]
            for entry in own:
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False):
                        workspace.remove(fd, entry.name)
                    else:
                        os.unlink(entry.name, dir_fd=fd)
        finally:
            os.close(fd)

    def _is_own(self, entry: os.DirEntry[str]) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return entry.stat(follow_symlinks=False).st_uid == self._uid
        return False
