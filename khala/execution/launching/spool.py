"""An attempt's output in files beside the workspaces, while it comes: what the cluster's store gets.

The launcher's thread writes, the executor's delivery reads; the files are the launcher's own user's, in
a folder that no task can enter. What ends soon and is short makes no file at all: the head and tail in
the frame of the end have all of it. Trouble with the disk ends the spool, never the task.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH102, PTH118, PTH106, PTH108

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from functools import cached_property

from .children import now_s

WRITE_EVERY_S = 0.1
WRITE_BYTES = 1 << 18
STREAMS = ("stdout", "stderr")


def folder_name(task_id: str, attempt: int) -> str:
    """The folder of an attempt under the spools' root."""
    return f"{task_id}-{attempt}"


OUTPUT_FILES = "outputs"
"""The file of an attempt's output files, one after the other, in its folder."""


def file_name(phase: str, stream: str) -> str:
    """The file of a stream in its attempt's folder."""
    return f"{phase}.{stream}"


class StreamSpool:
    """One stream: its first bytes, in order and without a gap, up to where `room` or the disk ended."""

    def __init__(self, folder: str, name: str, spool: Spool) -> None:
        self._folder = folder
        self._name = name
        self._spool = spool
        self._pending = bytearray()
        self._fd = -1
        self._ended = False
        self.written = 0

    @property
    def sha256(self) -> str:
        """The digest of what is written."""
        return self._digest.hexdigest()

    @cached_property
    def _digest(self) -> hashlib._Hash:
        return hashlib.sha256()

    @property
    def _path(self) -> str:
        return os.path.join(self._folder, self._name)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        if self._ended:
            return
        taken = self._spool.take_room(len(data))
        self._pending += data if taken == len(data) else data[:taken]
        if len(self._pending) >= WRITE_BYTES or taken < len(data):
            self.write()
        self._ended = self._ended or taken < len(data)

    def write(self) -> bool:
        """Write what waits; False if there was nothing."""
        if not self._pending:
            return False
        try:
            if self._fd < 0:
                self._open()
            self._write_pending()
        except OSError:
            self._ended = True
        self._pending.clear()
        return True

    def close(self, *, wanted: bool) -> None:
        """The end of the stream: write the rest if it is `wanted`, and let go of the file."""
        if wanted:
            self.write()
        if self._fd >= 0:
            os.close(self._fd)
            if not self.written:
                self._take_back()
        self._fd, self._ended = -1, True
        self._pending.clear()

    def _open(self) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._folder, 0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)

    def _take_back(self) -> None:
        """No byte had room: nobody is told of this file, so nobody would remove it."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
            os.rmdir(self._folder)

    def _write_pending(self) -> None:
        # The executor's journal, on the same disk, must not be left without room.
        free = os.fstatvfs(self._fd)
        if free.f_bavail * free.f_frsize < self._spool.reserve_bytes + len(self._pending):
            raise OSError("less than the free-space reserve is left")
        rest = memoryview(self._pending)
        try:
            while rest:
                count = os.write(self._fd, rest)
                self._digest.update(rest[:count])
                self.written += count
                rest = rest[count:]
        finally:
            rest.release()


class Spool:
    """Both streams of a phase, together at most `cap_bytes`. `told` is called, at most every tenth of a
    second, when more was written. Without a `root` nothing is ever spooled."""

    def __init__(
        self,
        root: str,
        name: str,
        phase: str,
        *,
        cap_bytes: int,
        reserve_bytes: int,
        told: Callable[[], bool],
    ) -> None:
        self._room = cap_bytes if root else 0
        self._told = told
        self.reserve_bytes = reserve_bytes
        self.due_s: float | None = None
        folder = os.path.join(root, name)
        self.streams = {stream: StreamSpool(folder, file_name(phase, stream), self) for stream in STREAMS}

    def take_room(self, wanted: int) -> int:
        """How many of `wanted` bytes may still be spooled; they are, from now on."""
        taken = min(wanted, self._room)
        self._room -= taken
        if taken and self.due_s is None:
            self.due_s = now_s() + WRITE_EVERY_S
        return taken

    def tend(self) -> None:
        """Write and tell, if it is time; call when `due_s` (the clock of `now_s`) has come, or before."""
        if self.due_s is None or (now := now_s()) < self.due_s:
            return
        self.due_s = None
        for stream in self.streams.values():
            stream.write()
        if not self._told():
            self.due_s = now + WRITE_EVERY_S

    @property
    def written(self) -> dict[str, int]:
        """How many bytes of each stream are in its file."""
        return {name: stream.written for name, stream in self.streams.items()}
