"""Where new directories lie on ext4 without a journal."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from khala.execution.launching import spreading


def has_flag(folder: Path) -> bool:
    fd = os.open(folder, os.O_RDONLY)
    try:
        flags = bytearray(spreading.FLAGS.size)
        fcntl.ioctl(fd, spreading.FS_IOC_GETFLAGS, flags)
    finally:
        os.close(fd)
    return bool(spreading.FLAGS.unpack(flags)[0] & spreading.FS_TOPDIR_FL)


def spread(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        spreading.spread(fd)
    finally:
        os.close(fd)


def test_another_file_system_is_left_alone() -> None:
    """And what says nothing of itself is one."""
    spread(Path("/proc/self"))
    spread(Path("/dev/shm"))


def test_only_without_a_journal(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    wanted = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").exists()
    wanted = wanted and spreading._lacks_journal(device)
    spread(tmp_path)
    if wanted:
        assert has_flag(tmp_path)
        (tmp_path / "below").mkdir()
        assert not has_flag(tmp_path / "below")
