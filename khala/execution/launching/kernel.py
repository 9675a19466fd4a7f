"""The few calls of Linux that Python 3.11 has no name for. Any single-threaded process."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
MS_NOSUID, MS_NODEV, MS_REC, MS_SLAVE = 2, 4, 0x4000, 1 << 19
MNT_DETACH = 2
# By number: the C library has had names for them since 2.36 only. The same on every machine.
SYS_FSOPEN, SYS_FSCONFIG, SYS_FSMOUNT = 430, 431, 432
FLAG_CLOEXEC = 1
FSCONFIG_CMD_CREATE = 6
# sigset_t of the C library.
SIGSET_BYTES = 128


class Kernel:
    """prctl(2), unshare(2), mount(2) and signalfd(2) of the C library, looked up once; every method raises
    OSError on failure."""

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

    def open_signals(self, numbers: set[signal.Signals]) -> int:
        """Block these signals, and have a descriptor that tells of them (signalfd(2))."""
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        bits = sum(1 << (number - 1) for number in numbers)
        mask = bits.to_bytes(8, sys.byteorder).ljust(SIGSET_BYTES, b"\0")
        fd: int = self._libc.signalfd(-1, mask, os.O_NONBLOCK | os.O_CLOEXEC)
        self._check("signalfd", min(fd, 0))
        return fd

    def take_own_mounts(self) -> None:
        """From here on this process's mounts are its own: they vanish with it. Needs root."""
        self._check("unshare", self._libc.unshare(CLONE_NEWNS))
        self._mount(b"none", b"/", None, MS_REC | MS_SLAVE, None)

    def take_own_ipc(self) -> None:
        """Leave all System V and POSIX message objects behind; the last user's end frees them. Needs root."""
        self._check("unshare", self._libc.unshare(CLONE_NEWIPC))

    def open_message_queues(self) -> int:
        """A descriptor of the folder of this namespace's POSIX message queues (mq_overview(7)), which is in
        nobody's tree. Needs root, and Linux 5.2."""
        context = self._call(SYS_FSOPEN, b"mqueue", FLAG_CLOEXEC)
        try:
            self._call(SYS_FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)
            mount = self._call(SYS_FSMOUNT, context, FLAG_CLOEXEC, 0)
        finally:
            os.close(context)
        try:
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
        finally:
            os.close(mount)

    def mount_tmpfs(self, path: str, options: str) -> None:
        """A new tmpfs at `path` (tmpfs(5) has the options). Needs root."""
        self._mount(b"khala", os.fsencode(path), b"tmpfs", MS_NOSUID | MS_NODEV, options.encode())

    def unmount(self, path: str) -> None:
        """Take what is mounted at `path` out of the tree at once, even if it is in use."""
        self._check("umount2", self._libc.umount2(os.fsencode(path), MNT_DETACH))

    def _mount(
        self, source: bytes, target: bytes, kind: bytes | None, flags: int, data: bytes | None
    ) -> None:
        self._check("mount", self._libc.mount(source, target, kind, ctypes.c_ulong(flags), data))

    def _call(self, number: int, *given: bytes | int | None) -> int:
        done: int = self._libc.syscall(ctypes.c_long(number), *given)
        self._check(f"system call {number}", min(done, 0))
        return done

    def _prctl(self, option: int, value: int) -> None:
        unused = ctypes.c_ulong(0)
        done = self._libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), unused, unused, unused)
        self._check(f"prctl({option})", done)

    def _check(self, call: str, done: int) -> None:
        if done != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{call}: {os.strerror(number)}")
