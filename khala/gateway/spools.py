"""Files on their way in: put down as they arrive, with their digest, and never whole in memory.

The writes go to the page cache of a temporary file without a name, in pieces of at most 64 KiB: short
enough for the event loop.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from typing import BinaryIO, cast

IN_MEMORY_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Spool:
    """A received file: small ones stay in memory, others lie in a temporary file without a name."""

    file: BinaryIO
    size: int
    sha256: str

    def read_at(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`."""
        self.file.seek(offset)
        return self.file.read(length)


class Spooler:
    """Takes a file in, piece by piece; the caller closes `file`."""

    def __init__(self, spool_dir: str | None) -> None:
        self.file = cast(BinaryIO, tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=spool_dir))  # noqa: SIM115
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        """The next piece."""
        self.file.write(data)
        self._digest.update(data)
        self._size += len(data)

    def finish(self) -> Spool:
        """All of it, with size and digest."""
        return Spool(self.file, self._size, self._digest.hexdigest())
