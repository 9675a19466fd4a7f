"""The folder of one native server: its lock, its mark of origin, its key file.

    DIRECTORY/lock         held, by flock, as long as a guard or its server lives
    DIRECTORY/origin.json  which server, series and cluster wrote `data`; written before the first start
    DIRECTORY/data         the server's own
    DIRECTORY/server.log   what it said, and server.log.1 what it said before that
    DIRECTORY/keyFile      mongod only

Any thread, one at a time. Never deletes data.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from khala.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What wrote a data folder: the server's kind (etcd, mongod), its series (3.4) and cluster."""

    server: str
    series: str
    cluster: str


class DataDirectory:
    """Owns the layout above for one server."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.data = self.path / "data"
        self.log = self.path / "server.log"
        self.key_file = self.path / "keyFile"
        self._origin = self.path / "origin.json"
        self._lock = self.path / "lock"

    def prepare(self, *, min_free_bytes: int) -> None:
        """Make the folders; raise ConfigurationError when they cannot be written or the disk is full."""
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            self.data.chmod(0o700)
            trial = self.path / f".trial.{os.getpid()}"
            trial.write_bytes(b"khala")
            trial.unlink()
        except OSError as error:
            raise ConfigurationError(
                f"{self.path}: cannot be written ({error.strerror}); choose another --data-dir"
            ) from None
        free = shutil.disk_usage(self.path).free
        if free < min_free_bytes:
            raise ConfigurationError(
                f"{self.path}: {free >> 20} MiB are free and {min_free_bytes >> 20} MiB are needed; "
                "make room or choose another --data-dir"
            )

    def claim(self, origin: Origin, *, readable_series: tuple[str, ...]) -> None:
        """Mark the data as `origin`'s, or raise ConfigurationError when it is another's.

        `readable_series` are the series whose data this server can also take over.
        """
        aside = f"use the earlier one, or move {self.path} aside"
        if not self._origin.exists():
            if any(self.data.iterdir()):
                raise ConfigurationError(f"{self.data}: not written by Khala; move {self.path} aside")
        else:
            try:
                found = Origin(**json.loads(self._origin.read_text()))
            except (ValueError, TypeError):
                raise ConfigurationError(f"{self._origin}: unreadable; {aside}") from None
            if found == origin:
                return
            for what, old, new in (
                ("server", found.server, origin.server),
                ("cluster", found.cluster, origin.cluster),
                ("version", found.series, origin.series),
            ):
                if old != new and not (what == "version" and old in readable_series):
                    raise ConfigurationError(f"{self.data}: written by {what} {old}, not {new}; {aside}")
        write_private(self._origin, json.dumps(asdict(origin)).encode())

    def try_lock(self) -> int | None:
        """A descriptor that holds the lock, to be inherited by the guard and its server; None while
        an earlier guard or server still lives. The caller closes its own copy."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def set_aside(self) -> Path | None:
        """Rename the whole folder, so that the server starts afresh (P20); the new name, if there was one."""
        if not self.path.exists():
            return None
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        aside, number = self.path.with_name(f"{self.path.name}.aside-{stamp}"), 1
        while aside.exists():
            number += 1
            aside = self.path.with_name(f"{self.path.name}.aside-{stamp}-{number}")
        return self.path.rename(aside)


def write_private(path: Path, content: bytes) -> None:
    """Replace a file by one that only its owner reads (0600), durably and in one step."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
