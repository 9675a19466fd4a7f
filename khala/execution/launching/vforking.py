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
import struct
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_char_p, c_int, c_long
from functools import lru_cache
from typing import NamedTuple

from .children import Reaper, now_s
from .program import OOM_SCORE, Program, Stdio
from .rlimits import Rlimit

LIBRARY = "_vfork*.so"
# As in vfork.c.
EXEC_WITHIN_S = 2
MOST_TAKEN_BYTES = 1 << 16
# linux/sched.h
PF_FORKNOEXEC = 0x40


class TakesLong(Exception):
    """The exec waits for something; a launcher must not."""


# The structs of vfork.c, as packed: filling a ctypes Structure takes ten times as long.
MOST_GROUPS, MOST_KEPT, MOST_LIMITS, OOM_SCORE_BYTES = 8, 5, 8, 8
_START = struct.Struct(
    f"@4i{MOST_GROUPS}i1i{MOST_KEPT}i2i" + "lLL" * MOST_LIMITS + f"2i2I{OOM_SCORE_BYTES}s4i0l"
)
_NO_FD = (-1,) * MOST_GROUPS
_WATCH, _PID = struct.Struct("@3l2P2l7i3l"), struct.Struct("@l")


class _Told(Structure):
    _fields_ = (("step", c_char_p), ("error", c_int))


class Waited(NamedTuple):
    """For what `Vfork.watch` waits besides the child's end: `control` readable, or that it is `until_s` on
    the clock of `now_s`. `children` is a ChildWatch's descriptor."""

    children: int
    control: int
    until_s: float


class Seen(NamedTuple):
    """What `khala_watch` saw: the child's wait status, None if it has not ended; the use of all that was
    reaped; what each of the two streams gave, and whether that is all of it."""

    status: int | None
    user_s: float
    system_s: float
    rss_kib: int
    given: list[tuple[bytes, bool]]


class Vfork:
    """The functions of the library, and what `khala_watch` works on (`watched`)."""

    def __init__(self, library: ctypes.PyDLL) -> None:
        self.functions = library
        self._start = library.khala_start
        self._start.argtypes = (c_char_p, c_char_p, POINTER(_Told))
        self._start.restype = c_long
        self._watch = library.khala_watch
        self._watch.argtypes = (c_char_p,)
        self._watch.restype = None
        self._told = _Told()
        self._taken = tuple(ctypes.create_string_buffer(MOST_TAKEN_BYTES) for _ in range(2))
        self._addresses = tuple(map(ctypes.addressof, self._taken))
        self.watched = ctypes.create_string_buffer(_WATCH.size)

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
                vfork = cls(library)
            except (OSError, AttributeError):
                continue
            if vfork.has("khala_start_bytes", _START.size) and vfork.has("khala_watch_bytes", _WATCH.size):
                return vfork
        return None

    def has(self, name: str, size: int) -> bool:
        """Does the library know a struct of this `name` and `size` in bytes?"""
        try:
            return c_long.in_dll(self.functions, name).value == size
        except ValueError:
            return False

    def start(self, program: Program, stdio: Stdio, groups: Sequence[int]) -> tuple[int, OSError | None]:
        """The child's pid, and why it could not execute the program, if it could not: it has ended then.

        TakesLong if the exec does, and nothing has run; OSError if the child could not be set up;
        UnicodeError if the program's words are none for exec.
        """
        told = self._told
        began_s = now_s()
        pid = self._start(*packed(program, stdio, groups), told)
        if pid < 0:
            raise OSError(-pid, f"cannot start a process: {os.strerror(-pid)}")
        if told.step is None and now_s() - began_s >= EXEC_WITHIN_S and not has_execed(pid):
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
        self.expect(reaper.main_pid, streams, waited, most_bytes=most_bytes)
        self._watch(self.watched)
        seen = self.seen()
        reaper.note(seen.status, seen.user_s, seen.system_s, seen.rss_kib)
        return seen.given

    def expect(self, pid: int, streams: Sequence[int], waited: Waited, *, most_bytes: int) -> None:
        """Fill `watched` for one call."""
        room = min(MOST_TAKEN_BYTES, most_bytes + 1)
        _WATCH.pack_into(
            self.watched, 0, pid, int(waited.until_s * 1e9), room, *self._addresses, 0, 0,
            *streams, waited.children, waited.control, 0, 0, 0, 0, 0, 0,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """The child that `watched` tells of."""
        return int(_PID.unpack_from(self.watched)[0])

    def seen(self) -> Seen:
        """What `watched` tells after the call."""
        told = _WATCH.unpack(self.watched)
        ended, status, _, user_us, system_us, rss_kib = told[11:]
        return Seen(
            status if ended else None,
            user_us / 1e6,
            system_us / 1e6,
            rss_kib,
            [
                (ctypes.string_at(taken, size) if size else b"", stream < 0)
                for taken, size, stream in zip(self._addresses, told[5:7], told[7:9], strict=True)
            ],
        )


def _is_protected() -> bool:
    try:
        with open("/proc/sys/fs/suid_dumpable", "rb") as setting:
            return setting.read().strip() != b"1"
    except OSError:
        return False


def has_execed(pid: int) -> bool:
    """Of a child that may be dead already, but not reaped (proc_pid_stat(5), flags)."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return not int(stat.read().rpartition(b")")[2].split()[6]) & PF_FORKNOEXEC


def packed(program: Program, stdio: Stdio, groups: Sequence[int]) -> tuple[bytes, bytes]:
    """The struct start, and its texts."""
    uid, gid = program.owner or (0, 0)
    env = [f"{key}={value}" for key, value in program.env.items()]
    box = [program.box] if program.box else []
    lists = (program.places, box, program.argv, env)
    start = _START.pack(
        *stdio, program.folder_fd,
        *groups, *_NO_FD[len(groups) : MOST_GROUPS], len(groups),
        *program.kept_fds, *_NO_FD[len(program.kept_fds) : MOST_KEPT], len(program.kept_fds),
        len(program.limits), *_flat(program.limits),
        program.priority, program.owner is not None, uid, gid, OOM_SCORE, *map(len, lists),
    )  # fmt: skip
    return start, os.fsencode("\0".join([text for texts in lists for text in texts]))


@lru_cache(maxsize=64)
def _flat(limits: tuple[Rlimit, ...]) -> tuple[int, ...]:
    """All fields of all limits there is room for."""
    fields = [field for limit in limits for field in limit]
    return (*fields, *(0,) * (len(Rlimit._fields) * MOST_LIMITS - len(fields)))
