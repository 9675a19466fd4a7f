"""Stored files kept on the executor's disk: content-addressed, bounded, least recently used goes first.

Thread-safe: actors ask while transfers add. Only the executor's user may read the directory; the
launcher opens files for a task, which never sees the cache itself.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from pathlib import Path

from khala.errors import ConfigurationError, Fault, Refusal, Unavailable

SHA256 = re.compile(r"[0-9a-f]{64}")
PART = ".part"


class FileCache:
    """At most `max_bytes` of files under `root`. A pinned file is never evicted."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._pins: Counter[str] = Counter()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._reserved_bytes = 0
        self._used_bytes = 0
        self._parts = 0
        self._scan()

    @property
    def used_bytes(self) -> int:
        """The size of all kept files."""
        return self._used_bytes

    def path_of(self, sha256: str) -> Path | None:
        """Where the file is, or None. Pin it first if it must still be there later."""
        with self._lock:
            if sha256 not in self._sizes:
                return None
            self._sizes.move_to_end(sha256)
            path = self._root / sha256
            try:
                os.utime(path)
            except FileNotFoundError:
                # Somebody else cleared the folder.
                self._used_bytes -= self._sizes.pop(sha256)
                return None
            return path

    def add(self, sha256: str, chunks: Iterator[bytes]) -> Path:
        """Store the file and return its path; harmless if it is there already.

        Refusal if the content has another digest; Unavailable if there is no room for it.
        """
        if not SHA256.fullmatch(sha256):
            raise Refusal(f"not a sha256 of 64 lowercase hexadecimal digits: {sha256!r}", field="sha256")
        if (known := self.path_of(sha256)) is not None:
            return known
        with self._lock:
            self._parts += 1
            part = self._root / f"{sha256}.{self._parts}{PART}"
        written = 0
        try:
            with part.open("wb") as target:
                digest = hashlib.sha256()
                for chunk in chunks:
                    self._reserve(len(chunk))
                    written += len(chunk)
                    digest.update(chunk)
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
            if digest.hexdigest() != sha256:
                raise Refusal(f"the content of {sha256} has another digest; send it again", code="invalid")
            return self._keep(sha256, part, written)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise Fault(f"file cache {self._root} broke ({error}); check its disk") from error
            raise Unavailable(f"the disk of {self._root} is full; make room on it") from error
        finally:
            part.unlink(missing_ok=True)
            with self._lock:
                self._reserved_bytes -= written

    def pin(self, sha256: str) -> None:
        """Keep the file, now or once it is added, until it is unpinned as many times."""
        with self._lock:
            self._pins[sha256] += 1

    def unpin(self, sha256: str) -> None:
        """Take one pin back."""
        with self._lock:
            self._pins[sha256] -= 1
            if self._pins[sha256] <= 0:
                del self._pins[sha256]

    def _keep(self, sha256: str, part: Path, size: int) -> Path:
        path = self._root / sha256
        with self._lock:
            part.replace(path)
            if sha256 not in self._sizes:
                self._used_bytes += size
            self._sizes[sha256] = size
            self._sizes.move_to_end(sha256)
        return path

    def _reserve(self, count: int) -> None:
        """Make room for `count` more bytes by evicting."""
        with self._lock:
            needed = self._used_bytes + self._reserved_bytes + count - self._max_bytes
            for sha256 in [name for name in self._sizes if name not in self._pins]:
                if needed <= 0:
                    break
                needed -= self._evict(sha256)
            if needed > 0:
                raise Unavailable(
                    f"the file cache of {self._max_bytes} bytes has no room: running tasks use the rest; "
                    "wait, or give the executor a larger cache"
                )
            self._reserved_bytes += count

    def _evict(self, sha256: str) -> int:
        (self._root / sha256).unlink(missing_ok=True)
        size = self._sizes.pop(sha256)
        self._used_bytes -= size
        return size

    def _scan(self) -> None:
        """Take over what an earlier executor kept, least recently used first; drop its parts."""
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = []
            for path in self._root.iterdir():
                if path.name.endswith(PART):
                    path.unlink()
                elif SHA256.fullmatch(path.name):
                    stat = path.stat()
                    found.append((stat.st_mtime, path.name, stat.st_size))
        except OSError as error:
            raise ConfigurationError(f"file cache {self._root}: {error.strerror}; choose another") from error
        for _, name, size in sorted(found):
            self._sizes[name] = size
            self._used_bytes += size
        while self._used_bytes > self._max_bytes:
            self._evict(next(iter(self._sizes)))
