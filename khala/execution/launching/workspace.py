"""An attempt's workspace: made fresh, filled, removed; always by directory descriptor.

Creation and removal run in the launcher; filling runs in a forked child that has become the slot's
user, before any untrusted byte of the attempt runs. Removal runs after the attempt's last process
is gone. Nothing here ever follows a link.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH101

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence

NAME = re.compile(r"(\d{1,6})-([0-9a-f]{24})-(\d{1,9})")
MAX_NAME_BYTES = 255
MAX_DEPTH = 32
MAX_SCANS = 100
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class BadPath(Exception):
    """A path that must not be written into a workspace; says why."""


def workspace_name(slot: int, task_id: str, attempt: int) -> str:
    """The directory of an attempt under the workspace root; matches NAME."""
    return f"{slot}-{task_id}-{attempt}"


def create(root_fd: int, name: str, owner: tuple[int, int] | None) -> int:
    """Make workspace `name`, given to `owner` (uid, gid); returns its descriptor.

    A leftover of the same name is removed first.
    """
    try:
        os.mkdir(name, 0o700, dir_fd=root_fd)
    except FileExistsError:
        remove(root_fd, name)
        os.mkdir(name, 0o700, dir_fd=root_fd)
    fd = os.open(name, OPEN_DIRECTORY, dir_fd=root_fd)
    try:
        if owner is not None:
            os.fchown(fd, *owner)
    except OSError:
        os.close(fd)
        raise
    return fd


def relative_parts(path: str) -> tuple[str, ...]:
    """The parts of a relative path; BadPath if it could leave the workspace or is out of bounds."""
    if "\0" in path:
        raise BadPath("has a NUL byte")
    if path.startswith("/"):
        raise BadPath("is absolute")
    parts = tuple(part for part in path.split("/") if part != ".")
    if not parts or "" in parts:
        raise BadPath("has an empty part")
    if ".." in parts:
        raise BadPath("has a '..'")
    if len(parts) > MAX_DEPTH:
        raise BadPath(f"is more than {MAX_DEPTH} levels deep")
    if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts):
        raise BadPath(f"has a name of more than {MAX_NAME_BYTES} bytes")
    return parts


def open_directory(top_fd: int, parts: Sequence[str]) -> int:
    """A descriptor of the directory `parts` below `top_fd`, made where it is missing."""
    fd = os.dup(top_fd)
    for part in parts:
        try:
            try:
                os.mkdir(part, 0o700, dir_fd=fd)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(part, dir_fd=fd, follow_symlinks=False).st_mode):
                    raise
            inner = os.open(part, OPEN_DIRECTORY, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def create_file(top_fd: int, parts: Sequence[str], mode: int) -> int:
    """A descriptor of the new file `parts`, open for writing; FileExistsError if it exists."""
    parent = open_directory(top_fd, parts[:-1])
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(parts[-1], flags, 0o600, dir_fd=parent)
    finally:
        os.close(parent)
    os.fchmod(fd, mode & 0o777)
    return fd


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def remove(root_fd: int, name: str) -> None:
    """Remove the tree `name` whatever a task made of it; no tree is no error.

    However deep a tree is, it takes two descriptors and no recursion: each directory found below the
    top is moved up into the top, where its turn comes. OSError if something cannot be removed.
    """
    try:
        os.rmdir(name, dir_fd=root_fd)
        return
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            # Where tasks have no user of their own, one may have put a link in its workspace's place.
            os.unlink(name, dir_fd=root_fd)
            return
        if error.errno != errno.ENOTEMPTY:
            raise
    top = _open_own(name, root_fd)
    try:
        mark, moved = f".removing-{os.urandom(8).hex()}-", 0
        while names := _clear_files(top):
            for inner_name in names:
                inner = _open_own(inner_name, top)
                try:
                    for deeper in _clear_files(inner):
                        _make_writable(deeper, inner)
                        os.rename(deeper, f"{mark}{moved}", src_dir_fd=inner, dst_dir_fd=top)
                        moved += 1
                finally:
                    os.close(inner)
                os.rmdir(inner_name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=root_fd)


def _clear_files(fd: int) -> list[str]:
    """Unlink all that is no directory in `fd`; the names of its directories.

    Scans again until no file is seen: a scan may skip entries while others are unlinked. OSError if
    that has no end, for a process writes there still.
    """
    for _ in range(MAX_SCANS):
        directories, unlinked = [], 0
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.name)
                else:
                    os.unlink(entry.name, dir_fd=fd)
                    unlinked += 1
        if not unlinked:
            return directories
    raise OSError(errno.EBUSY, "files appear as fast as they are removed")


def _open_own(name: str, parent: int) -> int:
    """Open directory `name`, given back the permissions that its owner may have taken away."""
    _make_writable(name, parent)
    return os.open(name, OPEN_DIRECTORY, dir_fd=parent)


def _make_writable(name: str, parent: int) -> None:
    """chmod u+rwx by an O_PATH descriptor: chmod by name would follow a link."""
    if os.geteuid() == 0:
        return
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{fd}", 0o700)
    finally:
        os.close(fd)
