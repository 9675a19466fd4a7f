"""Root's rights, given up for good: a judicator and a gateway need them at most to read their settings.

Called by the main thread before any other thread, process or file of the node exists.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import structlog

from khala.errors import ConfigurationError

FLAG = "--run-as"


def become(user: str, data_dir: Path) -> None:
    """Be `user` from now on, with its groups only, and have what is in `data_dir` belong to it; nothing
    happens if this process is not root, or if `user` is "" or root. Raises ConfigurationError."""
    if not user or os.geteuid() != 0:
        return
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise ConfigurationError(f"{FLAG}: there is no user {user!r} here; make it first") from None
    if entry.pw_uid == 0:
        return
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if data_dir.stat().st_uid != entry.pw_uid:
            _hand_over(data_dir, entry.pw_uid, entry.pw_gid)
        os.initgroups(user, entry.pw_gid)
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except OSError as why:
        raise ConfigurationError(
            f"{FLAG}: cannot become {user} with the data in {data_dir} ({why}); "
            f"chown the data to {user}, or start as that user"
        ) from None
    os.environ["HOME"] = entry.pw_dir


def _hand_over(data_dir: Path, uid: int, gid: int) -> None:
    """As after an earlier life as root. The folder itself comes last, so that half a work is seen."""
    structlog.get_logger().warning("the data change their owner", path=str(data_dir), uid=uid)
    for folder, folders, files in os.walk(data_dir):
        for name in (*folders, *files):
            os.chown(Path(folder) / name, uid, gid, follow_symlinks=False)
    os.chown(data_dir, uid, gid)
