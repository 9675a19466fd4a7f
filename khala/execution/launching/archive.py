"""Extracting an archive that nobody vouches for: what form it has, by its first bytes.

Only regular files and directories are made, by the project's own checks on actual bytes. Runs in a
forked child that has become the slot's user; all that may be needed is imported before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from .archive_bounds import TAKEN, BadArchive, Caps
from .tar_archive import BLOCK_BYTES, extract_tar, extract_tar_gz, is_tar_header
from .zip_archive import extract_zip, load_codecs

__all__ = ["BadArchive", "Caps", "extract", "load_codecs"]

GZIP_MAGIC = b"\x1f\x8b"
NOT_TAKEN = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "RAR",
}


def extract(archive: BinaryIO, top_fd: int, prefix: Sequence[str], caps: Caps) -> None:
    """Extract `archive` below `prefix` of the directory `top_fd`.

    BadArchive, naming the entry, if it is refused, and what was extracted so far must not be used;
    OSError (with the file's name) if writing fails.
    """
    archive.seek(0)
    start = archive.read(BLOCK_BYTES)
    archive.seek(0)
    if start.startswith(GZIP_MAGIC):
        extract_tar_gz(archive, top_fd, prefix, caps)
    elif is_tar_header(start):
        extract_tar(archive, top_fd, prefix, caps)
    elif name := next((name for magic, name in NOT_TAKEN.items() if start.startswith(magic)), ""):
        raise BadArchive(f"is packed by {name}, which is not taken: pack it as one of {TAKEN}")
    else:
        # A zip file is known by its end.
        extract_zip(archive, top_fd, prefix, caps)
