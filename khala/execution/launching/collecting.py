"""Copying the output files of an attempt out of its workspace, after its last process is gone.

`Collecting` runs in a forked child of the launcher that becomes the slot's user for good: what that
user cannot read is not read. The workspace is the work of an untrusted program: every step goes by
directory descriptor and follows no link, and only regular files with one link are taken. The contents
go, one after the other, into a spool file that was opened before; what they are, into a report.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from typing import Any

from .framing import Header
from .matching import GlobPath
from .slot import Slot
from .workspace import MAX_DEPTH, OPEN_DIRECTORY, write_all

MAX_FILES = 1000
MAX_PATHS_BYTES = 256 << 10
MAX_PATH_BYTES = 1024
MAX_ENTRIES = 100_000
MAX_REFUSALS = 10
COLLECT_WITHIN_S = 30.0
COLLECTED = 0
READ_BYTES = 1 << 20
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Unkept(Exception):
    """A file, or the rest of them, is not kept; says why."""


class Collecting:
    """The outputs of one job, as the executor's frame lists them.

    `spool_fd` gets the contents, at most `cap_bytes`; `report_fd` the report as JSON: `files` (path,
    size, sha256, mode), `refused` (path, why; the first few), `refusals` (how many), and `lacking`, the
    needed globs of which nothing, or not everything, was kept.
    """

    def __init__(
        self,
        slot: Slot,
        workspace_fd: int,
        outputs: list[Header],
        spool_fd: int,
        report_fd: int,
        cap_bytes: int,
    ) -> None:
        self._slot = slot
        self._workspace_fd = workspace_fd
        self._outputs = outputs
        self._spool_fd = spool_fd
        self._report_fd = report_fd
        self._cap_bytes = cap_bytes
        self._files: list[tuple[str, int, str, int]] = []
        self._refused: list[tuple[str, str]] = []
        self._refusals = 0
        self._spoiled: set[int] = set()
        self._found: set[int] = set()
        self._entries = self._paths_bytes = self._size = 0

    def __call__(self) -> int:
        """The child's work; returns its exit code."""
        self._slot.become_task()
        try:
            self._walk(self._workspace_fd, (), [GlobPath(item["parts"]) for item in self._outputs])
        except Unkept as why:
            # The walk ended early: nobody knows what any glob would have found.
            self._spoiled.update(range(len(self._outputs)))
            self._refuse("", str(why), [])
        report = {
            "files": self._files,
            "refused": self._refused,
            "refusals": self._refusals,
            "lacking": [
                item["glob"]
                for number, item in enumerate(self._outputs)
                if item["needed"] and (number in self._spoiled or number not in self._found)
            ],
        }
        write_all(self._report_fd, json.dumps(report).encode())
        return COLLECTED

    def _walk(self, fd: int, above: tuple[str, ...], paths: list[GlobPath]) -> None:
        for name in self._names_in(fd):
            entered = [path.enter(name) for path in paths]
            concerned = [number for number, path in enumerate(entered) if path.matches or path.possible]
            if not concerned:
                continue
            parts = (*above, name)
            try:
                self._take(fd, parts, entered)
            except _TooMany:
                raise
            except Unkept as why:
                self._refuse("/".join(parts), str(why), concerned)
            except OSError as error:
                self._refuse("/".join(parts), f"cannot be read: {error.strerror}", concerned)

    def _names_in(self, fd: int) -> list[str]:
        """All names, sorted, so that the same files are kept whatever the file system's order is."""
        names = []
        with os.scandir(fd) as entries:
            for entry in entries:
                self._entries += 1
                if self._entries > MAX_ENTRIES:
                    raise _TooMany(f"the globs lead through more than {MAX_ENTRIES} files and directories")
                names.append(entry.name)
        return sorted(names)

    def _take(self, fd: int, parts: tuple[str, ...], paths: list[GlobPath]) -> None:
        found = os.stat(parts[-1], dir_fd=fd, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            matching = {number for number, path in enumerate(paths) if path.matches}
            if matching:
                self._keep(fd, parts, found)
                self._found |= matching
        elif any(path.possible for path in paths):
            if len(parts) >= MAX_DEPTH:
                raise Unkept(f"is a directory {MAX_DEPTH} levels deep; it was not looked into")
            inner = os.open(parts[-1], OPEN_DIRECTORY, dir_fd=fd)
            try:
                self._walk(inner, parts, paths)
            finally:
                os.close(inner)

    def _keep(self, fd: int, parts: tuple[str, ...], found: os.stat_result) -> None:
        path = _checked_path(parts)
        if not stat.S_ISREG(found.st_mode):
            raise Unkept(f"is {_kind(found.st_mode)}, not a regular file")
        if len(self._files) >= MAX_FILES or self._paths_bytes + len(path) > MAX_PATHS_BYTES:
            raise Unkept(f"more than {MAX_FILES} files, or {MAX_PATHS_BYTES} bytes of their paths")
        file_fd = os.open(parts[-1], OPEN_FILE, dir_fd=fd)
        try:
            # What was looked at may not be what was opened.
            opened = os.fstat(file_fd)
            if not stat.S_ISREG(opened.st_mode):
                raise Unkept("is not a regular file")
            if opened.st_nlink != 1:
                raise Unkept("has more than one link")
            if self._size + opened.st_size > self._cap_bytes:
                raise Unkept(
                    f"with its {opened.st_size} bytes, all kept files are more than {self._cap_bytes}"
                )
            digest, size = self._copy(file_fd)
        finally:
            os.close(file_fd)
        self._paths_bytes += len(path.encode())
        self._size += size
        self._files.append((path, size, digest, stat.S_IMODE(opened.st_mode) & 0o777))

    def _copy(self, file_fd: int) -> tuple[str, int]:
        """Append the content to the spool; what could not be kept whole is cut off again."""
        digest, size = hashlib.sha256(), 0
        try:
            while data := os.read(file_fd, READ_BYTES):
                size += len(data)
                if self._size + size > self._cap_bytes:
                    raise Unkept(f"all kept files are more than {self._cap_bytes} bytes")
                free = os.fstatvfs(self._spool_fd)
                if free.f_bavail * free.f_frsize < self._slot.reserve_bytes + len(data):
                    raise Unkept("less than the free-space reserve is left on the executor")
                write_all(self._spool_fd, data)
                digest.update(data)
        except (Unkept, OSError):
            os.ftruncate(self._spool_fd, self._size)
            os.lseek(self._spool_fd, self._size, os.SEEK_SET)
            raise
        return digest.hexdigest(), size

    def _refuse(self, path: str, why: str, concerned: list[int]) -> None:
        self._spoiled.update(concerned)
        self._refusals += 1
        if len(self._refused) < MAX_REFUSALS:
            shown = path.encode(errors="replace").decode()[:MAX_PATH_BYTES]
            self._refused.append((shown, why))


class _TooMany(Unkept):
    """The walk has no end in sight."""


def _checked_path(parts: tuple[str, ...]) -> str:
    """As inputs' paths are checked: what is kept can be an input again, and a download's name."""
    path = "/".join(parts)
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise Unkept("has a name that is not UTF-8") from None
    if size > MAX_PATH_BYTES:
        raise Unkept(f"has a path of more than {MAX_PATH_BYTES} bytes")
    if any(character < " " or character in "\\\x7f" for character in path):
        raise Unkept("has a backslash or a control character in its name")
    return path


def _kind(mode: int) -> str:
    kinds: dict[int, Any] = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return str(kinds.get(stat.S_IFMT(mode), "something else"))
