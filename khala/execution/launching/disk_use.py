"""How much lies in a workspace, while its task may still write, move and link in it.

By directory descriptor, never by path, following no link; the launcher's thread. An entry counts at
least ENTRY_BYTES, for empty files fill a disk too.
"""

from __future__ import annotations

import contextlib
import os
import resource
import stat
from dataclasses import dataclass, field

from .workspace import OPEN_DIRECTORY

ENTRY_BYTES = 512
BLOCK_BYTES = 512
SPARE_DESCRIPTORS = 128
MOST_DEEP = 4096


@dataclass(slots=True)
class DiskUse:
    """`size_bytes` is what is allocated, `largest_file_bytes` the largest file's length; `whole` says
    that nothing was too deep to be looked at or already over `enough_bytes`."""

    enough_bytes: int = 0
    size_bytes: int = 0
    largest_file_bytes: int = 0
    whole: bool = True
    _linked: set[tuple[int, int]] = field(default_factory=set)

    @property
    def over(self) -> bool:
        """More than `enough_bytes`, or not to be measured."""
        return bool(self.enough_bytes) and (self.size_bytes > self.enough_bytes or not self.whole)

    def add(self, entry: os.stat_result) -> None:
        """Count one file or directory; a file with several links once."""
        if entry.st_nlink > 1 and not stat.S_ISDIR(entry.st_mode):
            if (entry.st_dev, entry.st_ino) in self._linked:
                return
            self._linked.add((entry.st_dev, entry.st_ino))
        self.size_bytes += max(ENTRY_BYTES, entry.st_blocks * BLOCK_BYTES)
        if stat.S_ISREG(entry.st_mode):
            self.largest_file_bytes = max(self.largest_file_bytes, entry.st_size)


def measure(top_fd: int, enough_bytes: int = 0) -> DiskUse:
    """Measure the tree below `top_fd`; stops early above `enough_bytes` (0: never)."""
    use = DiskUse(enough_bytes=enough_bytes)
    if not os.listdir(top_fd):
        return use
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    deepest = min(MOST_DEEP, soft - SPARE_DESCRIPTORS)
    pending = [(os.dup(top_fd), _names(top_fd, use))]
    try:
        while pending and not use.over:
            fd, names = pending[-1]
            if not names:
                os.close(pending.pop()[0])
                continue
            if len(pending) >= deepest:
                use.whole = False
                names.clear()
                continue
            # A directory may be gone or replaced since it was listed, or locked against its owner.
            with contextlib.suppress(OSError):
                inner = os.open(names.pop(), OPEN_DIRECTORY, dir_fd=fd)
                pending.append((inner, _names(inner, use)))
    finally:
        for fd, _ in pending:
            os.close(fd)
    return use


def _names(fd: int, use: DiskUse) -> list[str]:
    """Count all that lies in the directory; the names of its directories."""
    directories = []
    with os.scandir(fd) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                use.add(found)
                if stat.S_ISDIR(found.st_mode):
                    directories.append(entry.name)
                elif use.over:
                    break
    return directories
