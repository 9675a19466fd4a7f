"""A range of uids that no other executor of this host uses, held by a lock file for as long as needed.

The lock is the kernel's (flock(2)): it ends with the last process that holds the descriptor, after a
kill too, and so the zygote and its launchers are given it.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from khala.errors import ConfigurationError

FIRST_UID = 61_000
RANGE = 256
RANGES = 256
FOLDER = Path("/run/khala")
FALLBACK = Path("/var/tmp/khala-uids")


@dataclass(frozen=True, slots=True, kw_only=True)
class UidRange:
    """`base` … `base` + RANGE - 1 are this executor's while `fd` is open."""

    base: int
    fd: int

    def release(self) -> None:
        """Let another executor have it, once no other process holds the descriptor."""
        os.close(self.fd)


def claim_uid_range(preferred: int = 0, folder: Path | None = None) -> UidRange:
    """Claim the first free range, looking from number `preferred` (any integer) on: with the same number
    an executor gets the same range again, if it is free. ConfigurationError if none is."""
    place = _usable_folder() if folder is None else folder
    for number in range(preferred, preferred + RANGES):
        base = FIRST_UID + number % RANGES * RANGE
        fd = os.open(place / f"{base}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
        else:
            return UidRange(base=base, fd=fd)
    raise ConfigurationError(f"{RANGES} executors hold all uid ranges of this host ({place}); stop one first")


def _usable_folder() -> Path:
    """A folder that only this user may change: what lies in it is never a trap."""
    for folder in (FOLDER, FALLBACK):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError:
            continue
        if folder.is_dir() and not folder.is_symlink() and found.st_uid == os.geteuid():
            folder.chmod(0o700)
            return folder
    raise ConfigurationError(f"{FOLDER} and {FALLBACK} cannot hold locks; remove what is there")
