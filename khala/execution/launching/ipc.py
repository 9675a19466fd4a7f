"""The launcher's own IPC namespace: left behind, with all that a task made in it, when it made something.

The launcher's thread, while the slot is idle. A new namespace costs 40 µs, and the kernel's own threads
as much to take the old one down; a look whether it is needed costs 10.
"""
# Works by descriptors and starts without pathlib.

from __future__ import annotations

import contextlib
import os
from ctypes import c_int

from .kernel import Kernel
from .vforking import Vfork

LISTS = ("/proc/sysvipc/msg", "/proc/sysvipc/sem", "/proc/sysvipc/shm")
HEADER_LINES = 1
LOOK_BYTES = 1024


class OwnIpc:
    """`renew` before each attempt. `kernel` must be allowed to make namespaces; `vfork` looks quicker."""

    def __init__(self, kernel: Kernel, vfork: Vfork | None = None) -> None:
        self._kernel = kernel
        self._vfork = vfork
        self._lists: list[int] = []
        self._queues = -1
        self._unused = (0, 0)

    def renew(self) -> None:
        """Have a namespace without any object. Message queues end with their last user, which is this
        process, and so do shared memory and semaphores."""
        if self._queues >= 0 and not self._is_used():
            return
        for fd in (*self._lists, self._queues):
            if fd >= 0:
                os.close(fd)
        self._lists, self._queues = [], -1
        self._kernel.take_own_ipc()
        with contextlib.suppress(OSError):
            # Where these cannot be had, there is a new namespace every time.
            self._lists = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in LISTS]
            self._queues = self._kernel.open_message_queues()
            self._unused = _changed(self._queues)

    @property
    def watched(self) -> tuple[list[int], int, tuple[int, int]] | None:
        """What shows whether it is used: the lists' descriptors, the queues', and size and time stamp (ns) of
        these without any; None if there is no telling."""
        return (self._lists, self._queues, self._unused) if self._queues >= 0 else None

    def _is_used(self) -> bool:
        if self._vfork is not None:
            lists = (c_int * len(self._lists))(*self._lists)
            return bool(self._vfork.functions.khala_has_objects(lists, len(lists))) or self._has_queues()
        for fd in self._lists:
            if os.pread(fd, LOOK_BYTES, 0).count(b"\n") > HEADER_LINES:
                return True
        return self._has_queues()

    def _has_queues(self) -> bool:
        return _changed(self._queues) != self._unused


def _changed(folder: int) -> tuple[int, int]:
    """What a queue that is made in there changes, and unlinking it does not undo (ipc/mqueue.c of Linux)."""
    found = os.fstat(folder)
    return found.st_size, found.st_mtime_ns
