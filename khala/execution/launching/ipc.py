"""The launcher's own IPC namespace: left behind, with all that a task made in it, when it made something.

The launcher's thread, while the slot is idle. A new namespace costs 40 µs, and the kernel's own threads
as much to take the old one down; a look whether it is needed costs 10.
"""
# Works by descriptors and starts without pathlib.

from __future__ import annotations

import contextlib
import os

from .kernel import Kernel

LISTS = ("/proc/sysvipc/msg", "/proc/sysvipc/sem", "/proc/sysvipc/shm")
HEADER_LINES = 1
LOOK_BYTES = 1024


class OwnIpc:
    """`renew` before each attempt. `kernel` must be allowed to make namespaces."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
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

    def _is_used(self) -> bool:
        for fd in self._lists:
            if os.pread(fd, LOOK_BYTES, 0).count(b"\n") > HEADER_LINES:
                return True
        return _changed(self._queues) != self._unused


def _changed(folder: int) -> tuple[int, int]:
    """What a queue that is made in there changes, and unlinking it does not undo (ipc/mqueue.c of Linux)."""
    found = os.fstat(folder)
    return found.st_size, found.st_mtime_ns
