"""What a slot's next attempt would wait for, made while the slot is idle: its workspace, and the pipes of its
first command. The launcher's thread.
"""
# Works by descriptors and starts without pathlib.

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from . import workspace
from .ended import Ended


class Pipes(NamedTuple):
    """Of a command's standard output and error: the read ends do not block."""

    out_read: int
    out_write: int
    err_read: int
    err_write: int


class Ready:
    """`make` when there is time, then `take` and `take_pipes`: what could not be made ahead is made when it
    is taken, and a workspace also without a folder for it (`ended`)."""

    def __init__(self, slot: int, root_fd: int, owner: tuple[int, int] | None, ended: Ended | None) -> None:
        self._slot = slot
        self._root_fd = root_fd
        self._owner = owner
        self._ended = ended
        self._fd = -1
        self._pipes: Pipes | None = None

    def make(self) -> None:
        """Make all of it that is not there. The workspace last: it shows that the slot is idle."""
        with contextlib.suppress(OSError):
            self._pipes = self._pipes or _make_pipes(self._owner)
            if self._fd < 0 and self._ended is not None:
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

    def take_pipes(self) -> Pipes:
        """Two pipes, which are the caller's to close. The write ends are the owner's: without that a task
        cannot open /dev/stdout or /dev/stderr. OSError if they cannot be had."""
        pipes, self._pipes = self._pipes, None
        return pipes or _make_pipes(self._owner)


def _make_pipes(owner: tuple[int, int] | None) -> Pipes:
    return Pipes(*_pipe(owner), *_pipe(owner))


def _pipe(owner: tuple[int, int] | None) -> tuple[int, int]:
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    if owner is not None:
        os.fchown(write, *owner)
    return read, write
