"""Starting a command by vfork.c, the library beside this file, without a copy of the launcher; and seeing
a short one through in there.

The launcher's thread. The library is built where Khala is installed with a C compiler at hand; without
it, and where other processes may have a task's uid, a launcher forks (starting.py).
"""
# Starts without pathlib.
# ruff: noqa: PTH118, PTH120, PTH123, PTH207

from __future__ import annotations

import ctypes
import glob
import os
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_char_p, c_int, c_long, c_uint, c_ulong
from typing import NamedTuple

from .children import Reaper, now_s
from .program import OOM_SCORE, Program, Stdio

LIBRARY = "_vfork*.so"
# As in vfork.c.
EXEC_WITHIN_S = 2
MOST_TAKEN_BYTES = 1 << 16
# linux/sched.h
PF_FORKNOEXEC = 0x40


class TakesLong(Exception):
    """The exec waits for something; a launcher must not."""


class _Limit(Structure):
    _fields_ = (("resource", c_long), ("soft", c_ulong), ("hard", c_ulong))


class _Start(Structure):
    _fields_ = (
        ("stdio", c_int * 3),
        ("folder", c_int),
        ("kept", c_int * 4),
        ("kept_count", c_int),
        ("limit_count", c_int),
        ("limits", _Limit * 8),
        ("priority", c_int),
        ("drops_root", c_int),
        ("uid", c_uint),
        ("gid", c_uint),
        ("oom_score", c_char_p),
        ("texts", c_char_p),
        ("counts", c_int * 5),
    )


class _Told(Structure):
    _fields_ = (("step", c_char_p), ("error", c_int))


class _Watch(Structure):
    _fields_ = (
        ("pid", c_long),
        ("until_ns", c_long),
        ("room", c_long),
        ("taken", c_char_p * 2),
        ("sizes", c_long * 2),
        ("streams", c_int * 2),
        ("children", c_int),
        ("control", c_int),
        ("ended", c_int),
        ("status", c_int),
        ("user_us", c_long),
        ("system_us", c_long),
        ("rss_kib", c_long),
    )


class Waited(NamedTuple):
    """For what `Vfork.watch` waits besides the child's end: `control` readable, or that it is `until_s` on
    the clock of `now_s`. `children` is a ChildWatch's descriptor."""

    children: int
    control: int
    until_s: float


class Vfork:
    """The functions of the library."""

    def __init__(self, library: ctypes.PyDLL) -> None:
        self._start = library.khala_start
        self._start.argtypes = (POINTER(_Start), POINTER(_Told))
        self._start.restype = c_long
        self._watch = library.khala_watch
        self._watch.argtypes = (POINTER(_Watch),)
        self._watch.restype = None
        self._taken = tuple(ctypes.create_string_buffer(MOST_TAKEN_BYTES) for _ in range(2))
        self._addresses = tuple(ctypes.cast(taken, c_char_p) for taken in self._taken)

    @classmethod
    def here(cls) -> Vfork | None:
        """None if the library was not built, or of another source than this file, or not for this
        machine, or if memory shared with a process that changes its user is not safe from that user's
        other processes here (proc_sys_fs(5), suid_dumpable)."""
        if not _is_protected():
            return None
        for path in glob.glob(os.path.join(os.path.dirname(__file__), LIBRARY)):
            try:
                library = ctypes.PyDLL(path)
                if all(
                    c_long.in_dll(library, name).value == ctypes.sizeof(struct)
                    for name, struct in (("khala_start_bytes", _Start), ("khala_watch_bytes", _Watch))
                ):
                    return cls(library)
            except (OSError, ValueError):
                continue
        return None

    def start(self, program: Program, stdio: Stdio) -> tuple[int, OSError | None]:
        """The child's pid, and why it could not execute the program, if it could not: it has ended then.

        TakesLong if the exec does, and nothing has run; OSError if the child could not be set up;
        UnicodeError if the program's words are none for exec.
        """
        told = _Told()
        began_s = now_s()
        pid = self._start(_packed(program, stdio), told)
        if pid < 0:
            raise OSError(-pid, f"cannot start a process: {os.strerror(-pid)}")
        if told.step is None and now_s() - began_s >= EXEC_WITHIN_S and not _has_execed(pid):
            os.waitpid(pid, 0)
            raise TakesLong(f"{program.name}: no exec within {EXEC_WITHIN_S} s")
        if told.step is None:
            return pid, None
        error = OSError(told.error, os.strerror(told.error))
        if told.step == b"exec":
            return pid, error
        os.waitpid(pid, 0)
        raise OSError(told.error, f"{told.step.decode()}: {error.strerror}")

    def watch(
        self, reaper: Reaper, streams: Sequence[int], waited: Waited, *, most_bytes: int
    ) -> list[tuple[bytes, bool]]:
        """Wait for the end of the reaper's child, and reap whatever ends; what each of the two streams gave,
        and whether that is all of it. Returns at the latest when more than `most_bytes` of output came."""
        room = min(MOST_TAKEN_BYTES, most_bytes + 1)
        seen = _Watch(
            reaper.main_pid, int(waited.until_s * 1e9), room, self._addresses, (0, 0), tuple(streams),
            waited.children, waited.control,
        )  # fmt: skip
        self._watch(seen)
        status = seen.status if seen.ended else None
        reaper.note(status, seen.user_us / 1e6, seen.system_us / 1e6, seen.rss_kib)
        return [
            (ctypes.string_at(taken, size) if size else b"", stream < 0)
            for taken, size, stream in zip(self._taken, seen.sizes, seen.streams, strict=True)
        ]


def _is_protected() -> bool:
    try:
        with open("/proc/sys/fs/suid_dumpable", "rb") as setting:
            return setting.read().strip() != b"1"
    except OSError:
        return False


def _has_execed(pid: int) -> bool:
    """Of a child that may be dead already, but not reaped (proc_pid_stat(5), flags)."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return not int(stat.read().rpartition(b")")[2].split()[6]) & PF_FORKNOEXEC


def _packed(program: Program, stdio: Stdio) -> _Start:
    uid, gid = program.owner or (0, 0)
    env = [f"{key}={value}" for key, value in program.env.items()]
    box = [program.box] if program.box else []
    lists = (program.group_files, program.places, box, program.argv, env)
    texts = [text for texts in lists for text in texts]
    return _Start(
        stdio=tuple(stdio),
        folder=program.folder_fd,
        kept=program.kept_fds,
        kept_count=len(program.kept_fds),
        limit_count=len(program.limits),
        limits=tuple(program.limits),
        priority=program.priority,
        drops_root=program.owner is not None,
        uid=uid,
        gid=gid,
        oom_score=OOM_SCORE,
        texts=os.fsencode("\0".join(texts)),
        counts=tuple(map(len, lists)),
    )
