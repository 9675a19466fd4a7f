"""Noticing and reaping children: SIGCHLD as a readable descriptor, and what the reaped have used.

Single-threaded processes only: SIGCHLD is blocked in them (signalfd(2)).
"""

from __future__ import annotations

import os
import select
import signal
import time

from .kernel import Kernel

# Of signalfd_siginfo, as many as are read at once.
NOTED_BYTES = 32 * 128


def now_s() -> float:
    """Seconds on CLOCK_BOOTTIME: never set back, and it does not stop while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ChildWatch:
    """A descriptor that becomes readable when a child ends. Make a new one after a fork."""

    def __init__(self, kernel: Kernel) -> None:
        self._fd = kernel.open_signals({signal.SIGCHLD})

    def fileno(self) -> int:
        """For poll."""
        return self._fd

    def clear(self) -> None:
        """Forget what was noted; call it before reaping, never after."""
        try:
            os.read(self._fd, NOTED_BYTES)
        except BlockingIOError:
            return

    def wait(self, timeout_s: float) -> None:
        """Return when a child has ended or the time is up."""
        select.select([self._fd], [], [], timeout_s)
        self.clear()

    def close(self) -> None:
        """Release the descriptor, in a process that no longer uses this watch."""
        os.close(self._fd)


class Reaper:
    """Reaps all children of this process and adds up their use, the one of their own reaped
    children included: together the whole tree, but for a process whose parent ignored SIGCHLD.

    `max_rss_bytes` is the largest single process. It is never below the forked launcher's own size
    (about 10 MB), for Linux carries that mark over an exec.
    """

    def __init__(self, main_pid: int) -> None:
        self.main_pid = main_pid
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
            main_status = status if pid == self.main_pid else None
            self.note(main_status, use.ru_utime, use.ru_stime, use.ru_maxrss)

    def note(self, main_status: int | None, user_s: float, system_s: float, max_rss_kib: int) -> None:
        """Add what has been reaped; None if the main child is not among it."""
        if main_status is not None:
            self.main_status = main_status
        self.cpu_user_s += user_s
        self.cpu_system_s += system_s
        self.max_rss_bytes = max(self.max_rss_bytes, max_rss_kib * 1024)
