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

RANGE = 256
RANGES = 256
FIRST_UID = 1_900_000_000
"""Nobody's: above people's, containers' and subordinate ids, below 2^31, where some programs fail
(systemd's UIDS-GIDS page lists who takes what; 61184 to 65519 are its dynamic service users)."""
FIRST_UID_IN_NAMESPACE = 61_000
"""Where a user namespace has only the usual 65,536 ids."""
UID_MAP = Path("/proc/self/uid_map")
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


def first_uid(uid_map: Path = UID_MAP) -> int:
    """The first uid of all ranges, by what this process's user namespace maps (user_namespaces(7))."""
    for line in uid_map.read_text().splitlines():
        start, _, length = (int(word) for word in line.split())
        if start <= FIRST_UID and start + length >= FIRST_UID + RANGE * RANGES:
            return FIRST_UID
    return FIRST_UID_IN_NAMESPACE


def claim_uid_range(preferred: int = 0, folder: Path | None = None) -> UidRange:
    """Claim the first free range, looking from number `preferred` (any integer) on: with the same number
    an executor gets the same range again, if it is free. ConfigurationError if none is."""
    place = _usable_folder() if folder is None else folder
    first = first_uid()
    ranges = RANGES if first == FIRST_UID else (0xFFFE - first) // RANGE
    for number in range(preferred, preferred + ranges):
        base = first + number % ranges * RANGE
        fd = os.open(place / f"{base}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
        else:
            return UidRange(base=base, fd=fd)
    raise ConfigurationError(f"{ranges} executors hold all uid ranges of this host ({place}); stop one first")


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
