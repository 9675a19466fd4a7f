"""The few calls of Linux that Python 3.11 has no name for: prctl(2). Any single-threaded process."""

from __future__ import annotations

import ctypes
import os

PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38


class Kernel:
    """prctl(2) of the C library, looked up once; every method raises OSError on failure."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def adopt_orphans(self) -> None:
        """Become the parent of every descendant whose parent ends (a child subreaper)."""
        self._prctl(PR_SET_CHILD_SUBREAPER, 1)

    def forbid_new_privileges(self) -> None:
        """No exec from here on, nor in any descendant, gains privileges (setuid programs do not)."""
        self._prctl(PR_SET_NO_NEW_PRIVS, 1)

    def name_process(self, name: str) -> None:
        """Set the name that ps shows: at most 15 bytes."""
        text = ctypes.create_string_buffer(name.encode()[:15])
        self._prctl(PR_SET_NAME, ctypes.addressof(text))

    def _prctl(self, option: int, value: int) -> None:
        unused = ctypes.c_ulong(0)
        if self._libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), unused, unused, unused) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"prctl({option}): {os.strerror(number)}")
