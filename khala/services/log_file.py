"""What a server says: a file that stays small, its last lines, and following it.

The server's own descriptor is open for appending, so the file can be emptied under it. Any one
thread; no thread of its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

_MOST_READ_BYTES = 1 << 20


class LogFile:
    """One server's log, with one older part kept beside it as `.1`."""

    def __init__(self, path: Path, *, max_bytes: int, on_line: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._older = path.with_name(path.name + ".1")
        self._max_bytes = max_bytes
        self._on_line = on_line
        self._told_bytes = self._size()

    def open(self) -> int:
        """A descriptor for a server to append to; the caller closes it."""
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def keep_small(self) -> None:
        """Beyond `max_bytes`, move the content to `.1`, in place of what that held. What the server
        writes between the copy and the emptying is lost: a log is no record."""
        if self._size() <= self._max_bytes:
            return
        self.tell_new_lines()
        try:
            shutil.copyfile(self.path, self._older)
            self._older.chmod(0o600)
        except OSError:
            # A full disk: then it is the older part that makes room.
            self._older.unlink(missing_ok=True)
        os.truncate(self.path, 0)
        self._told_bytes = 0

    def tell_new_lines(self) -> None:
        """Give the lines completed since the last call to `on_line`, if there is one."""
        size = self._size()
        if self._on_line is None or size <= self._told_bytes:
            return
        with self.path.open("rb") as file:
            file.seek(max(self._told_bytes, size - _MOST_READ_BYTES))
            content = file.read(_MOST_READ_BYTES)
            complete = content.rfind(b"\n") + 1
            self._told_bytes = file.tell() - len(content) + complete
        for line in content[:complete].decode(errors="replace").splitlines():
            self._on_line(line)

    def last_lines(self, count: int) -> str:
        """The last `count` lines, for an error's text."""
        if not self.path.exists():
            return "(no log)"
        with self.path.open("rb") as file:
            file.seek(max(0, self._size() - 16384))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-count:]) or "(the log is empty)"

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0
