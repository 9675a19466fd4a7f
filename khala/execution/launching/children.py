"""Noticing and reaping children: SIGCHLD as a readable descriptor, and what the reaped have used.

Single-threaded processes only: it owns the process's SIGCHLD handler and wakeup descriptor.
"""

from __future__ import annotations

import os
import select
import signal
import time
from types import FrameType


def now_s() -> float:
    """Seconds on CLOCK_BOOTTIME: never set back, and it does not stop while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ChildWatch:
    """A descriptor that becomes readable when a child ends. Make a new one after a fork."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, self._noted)
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """For poll."""
        return self._read_fd

    def clear(self) -> None:
        """Forget what was noted; call it before reaping, never after."""
        try:
            os.read(self._read_fd, 4096)
        except BlockingIOError:
            return

    def wait(self, timeout_s: float) -> None:
        """Return when a child has ended or the time is up."""
        select.select([self._read_fd], [], [], timeout_s)
        self.clear()

    def close(self) -> None:
        """Release the descriptors, in a process that no longer uses this watch."""
        os.close(self._read_fd)
        os.close(self._write_fd)

    def _noted(self, number: int, frame: FrameType | None) -> None:
        """The wakeup descriptor has the byte already; without a handler there would be none."""


class Reaper:
    """Reaps all children of this process and adds up their use, the one of their own reaped
    children included: together the whole tree, but for a process whose parent ignored SIGCHLD.

    `max_rss_bytes` is the largest single process. It is never below the forked launcher's own size
    (about 10 MB), for Linux carries that mark over an exec.
    """

    def __init__(self, main_pid: int) -> None:
        self._main_pid = main_pid
        self.main_status: int | None = None
        self.cpu_user_s = 0.0
        self.cpu_system_s = 0.0
        self.max_rss_bytes = 0

    def reap(self) -> bool:
        """Reap whatever has ended; is any child left?"""
        while True:
            try:
                pid, status, use = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._main_pid:
                self.main_status = status
            self.cpu_user_s += use.ru_utime
            self.cpu_system_s += use.ru_stime
            self.max_rss_bytes = max(self.max_rss_bytes, use.ru_maxrss * 1024)
