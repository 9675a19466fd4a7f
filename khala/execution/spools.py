"""The executor's side of the spools: reading what its launchers have written, and removing it.

Called from the delivery's thread. OSError comes through where it says something; a spool that is not
there has nothing in it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from khala.core.output import PHASES, STREAMS, StreamKey
from khala.errors import ConfigurationError, Unavailable
from khala.execution.launching.spool import OUTPUT_FILES, file_name, folder_name

NAME = re.compile(r"([0-9a-f]{24})-(\d{1,9})")
READ_BYTES = 1 << 20


class Spools:
    """All spools below `root`, which only this process's user can enter."""

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            root.chmod(0o700)
        except OSError as error:
            raise ConfigurationError(f"{root}: {error.strerror}; choose another --data-dir") from error

    def read(self, key: StreamKey, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; fewer where the file ends."""
        return _read(self._path(key), offset, length)

    def chunks(self, key: StreamKey, size: int) -> Iterator[bytes]:
        """The first `size` bytes of a stream. Unavailable if there are fewer."""
        offset = 0
        while offset < size:
            data = self.read(key, offset, min(READ_BYTES, size - offset))
            if not data:
                raise Unavailable(f"the spool of {key} has {offset} bytes instead of {size}")
            offset += len(data)
            yield data

    def read_files(self, task_id: str, attempt: int, offset: int, length: int) -> bytes:
        """As `read`, of the attempt's output files, which lie one after the other."""
        return _read(self._root / folder_name(task_id, attempt) / OUTPUT_FILES, offset, length)

    def size(self, key: StreamKey) -> int:
        """How many bytes there are."""
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError:
            return 0

    def sizes(self, task_id: str, attempt: int) -> dict[StreamKey, int]:
        """All streams of an attempt that have any bytes."""
        keys = [
            StreamKey(task_id=task_id, attempt=attempt, phase=phase, stream=stream)
            for phase in PHASES
            for stream in STREAMS
        ]
        return {key: size for key in keys if (size := self.size(key))}

    def digest(self, key: StreamKey, length: int) -> str:
        """The sha256 of the first `length` bytes; empty if there are fewer."""
        digest, at = hashlib.sha256(), 0
        while at < length and (data := self.read(key, at, min(READ_BYTES, length - at))):
            digest.update(data)
            at += len(data)
        return digest.hexdigest() if at == length else ""

    def drop(self, task_id: str, attempt: int) -> None:
        """Remove all that is spooled of an attempt."""
        shutil.rmtree(self._root / folder_name(task_id, attempt), ignore_errors=True)

    def sweep(self, kept: Collection[tuple[str, int]]) -> None:
        """Remove all spools but those of these attempts."""
        names = {folder_name(*attempt) for attempt in kept}
        for path in self._root.iterdir():
            if NAME.fullmatch(path.name) and path.name not in names:
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, key: StreamKey) -> Path:
        return self._root / folder_name(key.task_id, key.attempt) / file_name(key.phase, key.stream)


def _read(path: Path, offset: int, length: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(fd, length, offset)
    finally:
        os.close(fd)
