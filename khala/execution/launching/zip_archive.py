"""Extracting a zip file that nobody vouches for.

The standard library reads the directory and inflates; what is written, where and how much is
checked here, on actual bytes. All entries are checked before the first byte is written. Runs in a
forked child that has become the slot's user.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH123

from __future__ import annotations

import codecs
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from .archive_bounds import CHUNK_BYTES, TAKEN, BadArchive, Budget, Caps, SeenPaths
from .workspace import BadPath, create_file, open_directory, relative_parts, write_all

END_RECORD = struct.Struct("<4s4H2LH")
END_MAGIC = b"PK\x05\x06"
ZIP64_LOCATOR_BYTES = 20
ZIP64_LOCATOR_MAGIC = b"PK\x06\x07"
READ_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error,
    EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry that passed all checks that need no data."""

    zip_info: zipfile.ZipInfo
    parts: tuple[str, ...]
    directory: bool
    mode: int


def load_codecs() -> None:
    """Load what zipfile would load only when it meets a name in the oldest encoding."""
    codecs.lookup("cp437")


def extract_zip(archive: BinaryIO, top_fd: int, prefix: Sequence[str], caps: Caps) -> None:
    """See `archive.extract`."""
    budget = Budget(caps)
    packed_bytes = _check_end(archive, caps)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _check_entries(opened.infolist(), caps)
            for entry in entries:
                if entry.directory:
                    os.close(open_directory(top_fd, (*prefix, *entry.parts)))
                else:
                    _write(opened, entry, top_fd, prefix, budget, packed_bytes)
    except READ_ERRORS as error:
        raise BadArchive(f"is not a readable zip file: {error}") from error


def _check_end(archive: BinaryIO, caps: Caps) -> int:
    """Bound what zipfile will load before it does; the archive's size in bytes."""
    size = archive.seek(0, os.SEEK_END)
    tail_start = max(0, size - END_RECORD.size - 0xFFFF - ZIP64_LOCATOR_BYTES)
    archive.seek(tail_start)
    tail = archive.read()
    at = tail.rfind(END_MAGIC)
    if at < 0 or len(tail) - at < END_RECORD.size:
        raise BadArchive(f"is no archive that is taken ({TAKEN}): as a zip file it has no end record")
    _, _, _, _, entries, directory_bytes, _, _ = END_RECORD.unpack_from(tail, at)
    if ZIP64_LOCATOR_MAGIC in tail[max(0, at - ZIP64_LOCATOR_BYTES) : at]:
        raise BadArchive("is a zip64 file: pack it without zip64")
    if entries > caps.entries:
        raise BadArchive(f"has {entries} entries; at most {caps.entries} are allowed")
    if directory_bytes > caps.directory_bytes:
        raise BadArchive(f"has a directory of more than {caps.directory_bytes} bytes")
    return size


def _check_entries(listed: Sequence[zipfile.ZipInfo], caps: Caps) -> list[Entry]:
    if len(listed) > caps.entries:
        raise BadArchive(f"has {len(listed)} entries; at most {caps.entries} are allowed")
    entries, seen = [], SeenPaths()
    claimed = 0
    for zip_info in listed:
        try:
            entry = _check_entry(zip_info, caps)
            seen.add(entry.parts, directory=entry.directory)
        except BadPath as why:
            raise BadArchive(f"entry {zip_info.orig_filename!r} {why}") from why
        claimed += zip_info.file_size
        if claimed > caps.total_bytes:
            raise BadArchive(f"holds more than {caps.total_bytes} bytes in all")
        entries.append(entry)
    return entries


def _check_entry(zip_info: zipfile.ZipInfo, caps: Caps) -> Entry:
    name = zip_info.orig_filename
    if "\\" in name:
        raise BadPath("has a backslash")
    directory = name.endswith("/")
    parts = relative_parts(name[:-1] if directory else name)
    unix_mode = zip_info.external_attr >> 16
    kind = stat.S_IFMT(unix_mode)
    if kind not in (0, stat.S_IFDIR if directory else stat.S_IFREG):
        raise BadPath("is neither a regular file nor a directory")
    if zip_info.flag_bits & 0x2041:
        raise BadPath("is encrypted")
    if zip_info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadPath(f"is packed by method {zip_info.compress_type}; only stored and deflated are taken")
    if directory and zip_info.file_size:
        raise BadPath("is a directory with content")
    if zip_info.file_size > caps.file_bytes:
        raise BadPath(f"claims {zip_info.file_size} bytes; at most {caps.file_bytes} are allowed")
    mode = 0o755 if unix_mode & 0o111 else 0o644
    return Entry(zip_info=zip_info, parts=parts, directory=directory, mode=mode)


def _write(
    opened: zipfile.ZipFile,
    entry: Entry,
    top_fd: int,
    prefix: Sequence[str],
    budget: Budget,
    packed_bytes: int,
) -> None:
    """Write one file; BadArchive naming the entry if its data is refused."""
    fd = create_file(top_fd, (*prefix, *entry.parts), entry.mode)
    zip_info, written = entry.zip_info, 0
    try:
        with open(fd, "wb", buffering=0) as target, opened.open(zip_info) as source:
            while chunk := source.read(CHUNK_BYTES):
                written += len(chunk)
                budget.spend(len(chunk), entry_bytes=written)
                budget.check_ratio(written, zip_info.compress_size)
                budget.check_ratio(budget.total_bytes, packed_bytes)
                write_all(target.fileno(), chunk)
        if written != zip_info.file_size:
            raise BadPath(f"holds {written} bytes but claims {zip_info.file_size}")
    except (BadPath, *READ_ERRORS) as why:
        reason = str(why) if isinstance(why, BadPath) else f"cannot be unpacked: {why}"
        raise BadArchive(f"entry {zip_info.orig_filename!r} {reason}") from why
