"""The workspace of a slot's next attempt, made while the slot is idle. The launcher's thread."""
# Works by descriptors and starts without pathlib.

from __future__ import annotations

import contextlib
import os

from . import workspace
from .ended import Ended


class Ready:
    """`make` when there is time, then `take`. Without a folder for it (`ended`), and if it could not be made,
    the workspace is made when it is taken."""

    def __init__(self, slot: int, root_fd: int, owner: tuple[int, int] | None, ended: Ended | None) -> None:
        self._slot = slot
        self._root_fd = root_fd
        self._owner = owner
        self._ended = ended
        self._fd = -1

    def make(self) -> None:
        """Make the next workspace, unless there is one."""
        if self._fd < 0 and self._ended is not None:
            with contextlib.suppress(OSError):
                self._fd = self._ended.make_next(self._slot, self._owner)

    def take(self, name: str) -> int:
        """The workspace as `name` under the root: its descriptor, which is the caller's. OSError if it cannot
        be had."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._ended is not None:
            try:
                self._ended.take_next(self._slot, self._root_fd, name)
            except OSError:
                # A leftover of this name is in the way, perhaps.
                os.close(fd)
            else:
                return fd
        return workspace.create(self._root_fd, name, self._owner)
