"""What any archive may hold, whatever its form: the caps, and the counting against them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from .workspace import BadPath

CHUNK_BYTES = 1 << 18
TAKEN = "zip, tar, tar.gz"


class BadArchive(Exception):
    """The archive is refused; says which entry and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What one archive may hold. `directory_bytes` bounds what only describes entries. The ratio of actual
    to packed size counts beyond `ratio_from_bytes`."""

    entries: int = 10_000
    directory_bytes: int = 16 << 20
    file_bytes: int = 256 << 20
    total_bytes: int = 1 << 30
    ratio: int = 200
    ratio_from_bytes: int = 1 << 20


class SeenPaths:
    """Finds two entries that are one path, or would be on a system that ignores case."""

    def __init__(self) -> None:
        self._spelling: dict[str, str] = {}
        self._is_directory: dict[str, bool] = {}
        self._files: set[str] = set()

    def add(self, parts: Sequence[str], *, directory: bool) -> None:
        """BadPath if the entry collides with an earlier one."""
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            is_directory = directory or depth < len(parts)
            known = self._spelling.setdefault(_fold(path), path)
            if known != path:
                raise BadPath(f"differs only in case from {known!r}")
            earlier = self._is_directory.setdefault(path, is_directory)
            if earlier != is_directory:
                raise BadPath(f"makes {path!r} both a file and a directory")
            if not is_directory and path in self._files:
                raise BadPath("is there twice")
        if not directory:
            self._files.add("/".join(parts))


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


class Budget:
    """Counts actual bytes against the caps, over the whole archive."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self.total_bytes = 0

    def spend(self, count: int, *, entry_bytes: int) -> None:
        """`count` more bytes, with which the entry has `entry_bytes`; BadPath beyond a cap."""
        self.total_bytes += count
        if entry_bytes > self._caps.file_bytes:
            raise BadPath(f"holds more than {self._caps.file_bytes} bytes")
        if self.total_bytes > self._caps.total_bytes:
            raise BadPath(f"brings the archive beyond {self._caps.total_bytes} bytes")

    def check_ratio(self, actual_bytes: int, packed_bytes: int) -> None:
        """BadPath if that little was packed into that much."""
        if actual_bytes > max(self._caps.ratio_from_bytes, self._caps.ratio * packed_bytes):
            raise BadPath(f"is packed more than {self._caps.ratio} times smaller than it is: a bomb")
