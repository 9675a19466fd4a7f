"""What a slot's next attempt would wait for, made while the slot is idle: its workspace, and the pipes of its
first command. The launcher's thread.
"""
# Works by descriptors and starts without pathlib.

from __future__ import annotations

import contextlib
import os
from ctypes import Structure, byref, c_char, c_int, c_uint, sizeof
from typing import NamedTuple

from . import workspace
from .ended import Ended
from .vforking import Vfork


class Pipes(NamedTuple):
    """Of a command's standard output and error: the read ends do not block."""

    out_read: int
    out_write: int
    err_read: int
    err_write: int


class MadeReady(Structure):
    """struct ready of launching.h."""

    _fields_ = (
        ("ended", c_int),
        ("has_owner", c_int),
        ("uid", c_uint),
        ("gid", c_uint),
        ("workspace", c_int),
        ("pipes", c_int * len(Pipes._fields)),
        ("next", c_char * 64),
    )


class Ready:
    """`make` when there is time, then `take` and `take_pipes`: what could not be made ahead is made when it
    is taken, and a workspace also without a folder for it (`ended`). `vfork` makes all of it in one call."""

    def __init__(
        self,
        slot: int,
        root_fd: int,
        owner: tuple[int, int] | None,
        ended: Ended | None,
        vfork: Vfork | None = None,
    ) -> None:
        self._slot = slot
        self._root_fd = root_fd
        self._owner = owner
        self._ended = ended
        self._fd = -1
        self._pipes: Pipes | None = None
        self._vfork = (
            vfork if vfork is not None and vfork.has("khala_ready_bytes", sizeof(MadeReady)) else None
        )
        if ended is not None:
            self._made = MadeReady(ended.fd, owner is not None, *(owner or (0, 0)))
            self._made.next = ended.next_of(slot).encode()

    def make(self) -> None:
        """Make all of it that is not there. The workspace last: it shows that the slot is idle."""
        if self._make_at_once():
            return
        with contextlib.suppress(OSError):
            self._pipes = self._pipes or _make_pipes(self._owner)
            if self._fd < 0 and self._ended is not None:
                self._fd = self._ended.make_next(self._slot, self._owner)

    def _make_at_once(self) -> bool:
        if self._vfork is None or self._ended is None or self._pipes or self._fd >= 0:
            return False
        if not self._vfork.functions.khala_ready(byref(self._made)):
            return False
        self.keep(workspace=True, pipes=True)
        return True

    @property
    def made(self) -> MadeReady | None:
        """All of it, if it is there, for the library to take; then `keep` says what is left."""
        if self._vfork is None or self._fd < 0 or self._pipes is None:
            return None
        self._made.workspace, self._made.pipes[:] = self._fd, self._pipes
        return self._made

    def keep(self, *, workspace: bool, pipes: bool) -> None:
        """Of what is in `made`, this is still to be taken, and nothing else."""
        self._fd = self._made.workspace if workspace else -1
        self._pipes = Pipes(*self._made.pipes) if pipes else None

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
