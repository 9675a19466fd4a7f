"""Files in memory that nobody can change, for a child to read."""

from __future__ import annotations

import fcntl
import os

from .workspace import write_all

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


def sealed_file(name: str, content: bytes) -> int:
    """A descriptor to read `content` from. Sealed, or a task could grow it without bound."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        write_all(fd, content)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd
