"""The directory of one local cluster: who may use it, and what lies where.

    VERSION  lock  secret  cluster.json  logs/  judicator-1/  executor-1/  …

`claim` refuses a directory that is not Khala's, another version's, or in use, and then changes
nothing. The lock is the kernel's (flock(2)), so it is free as soon as its supervisor is dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from khala.errors import ConfigurationError
from khala.local.record import FILE_NAME, write_private

DATA_VERSION = "1"
_LOCK = "lock"
_VERSION = "VERSION"


def default_data_dir(environment: Mapping[str, str]) -> Path:
    """`$KHALA_DATA_DIR`, or else `~/.local/share/khala`."""
    named = environment.get("KHALA_DATA_DIR")
    return Path(named).expanduser().absolute() if named else Path("~/.local/share/khala").expanduser()


class DataDirectory:
    """A claimed data directory; it is this process's until `release`."""

    def __init__(self, path: Path, lock: int, *, new: bool) -> None:
        self.path = path
        self._lock = lock
        self._new = new

    @classmethod
    def claim(cls, path: Path) -> DataDirectory:
        """Make the directory if needed and take it; ConfigurationError says why that cannot be."""
        check_version(path)
        new = not (path / _VERSION).exists()
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as failure:
            raise ConfigurationError(
                f"cannot use {path}: {failure.strerror}: give another --data-dir"
            ) from failure
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            os.close(lock)
            raise ConfigurationError(
                f"another `khala up` is running in {path}: end it with `khala down --data-dir {path}`, "
                "or give another --data-dir"
            ) from taken
        try:
            if not (path / _VERSION).exists():
                write_private(path / _VERSION, DATA_VERSION + "\n")
            (path / "logs").mkdir(exist_ok=True, mode=0o700)
        except OSError as failure:
            os.close(lock)
            raise ConfigurationError(
                f"cannot write in {path}: {failure.strerror}: make room, or give another --data-dir"
            ) from failure
        return cls(path, lock, new=new)

    def discard_if_new(self) -> None:
        """Take back what `claim` wrote, if it began this directory and no cluster was started in it.

        The lock's file stays where it is held (somebody may be about to lock it); without other
        content it makes nobody refuse the directory.
        """
        if not self._new or (self.path / FILE_NAME).exists():
            return
        self.log("up").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds what is not ours
            (self.path / "logs").rmdir()
        (self.path / _VERSION).unlink(missing_ok=True)

    def release(self) -> None:
        """Let another `khala up` have it."""
        os.close(self._lock)

    @property
    def secret_file(self) -> Path:
        """The file with the cluster's secret (mode 0600), made the first time."""
        path = self.path / "secret"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32) + "\n")
        return path

    def log(self, name: str) -> Path:
        """Where the output of the process `name` is appended."""
        return log_path(self.path, name)


def log_path(data_dir: Path, name: str) -> Path:
    """Where the output of the process `name` goes."""
    return data_dir / "logs" / f"{name}.log"


def check_version(path: Path) -> None:
    """ConfigurationError unless `path` is absent, empty, or a data directory of this version."""
    try:
        if not path.exists():
            return
        if not path.is_dir():
            raise ConfigurationError(f"{path} is not a directory: give another --data-dir")
        mark = path / _VERSION
        if not mark.exists():
            if any(entry.name != _LOCK for entry in path.iterdir()):
                raise ConfigurationError(
                    f"{path} holds something else than Khala's data: give another --data-dir"
                )
            return
        found = mark.read_text(errors="replace").strip()
    except OSError as failure:
        raise ConfigurationError(
            f"cannot read {path}: {failure.strerror}: give another --data-dir"
        ) from failure
    if found != DATA_VERSION:
        raise ConfigurationError(
            f"{path} has data of format {found!r}, and this Khala knows format {DATA_VERSION!r}: "
            "use the Khala that made it, or give another --data-dir"
        )
