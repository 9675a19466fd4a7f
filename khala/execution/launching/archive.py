"""Extracting a zip file that nobody vouches for.

The standard library reads the directory and inflates; what is written, where and how much is
checked here, on actual bytes. Only regular files and directories are made. Runs in a forked child
that has become the slot's user.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH123

from __future__ import annotations

import codecs
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from .workspace import BadPath, create_file, open_directory, relative_parts, write_all

CHUNK_BYTES = 1 << 18
END_RECORD = struct.Struct("<4s4H2LH")
END_MAGIC = b"PK\x05\x06"
ZIP64_LOCATOR_BYTES = 20
ZIP64_LOCATOR_MAGIC = b"PK\x06\x07"
READ_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error,
    EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError,
)  # fmt: skip


class BadArchive(Exception):
    """The archive is refused; says which entry and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What one archive may hold. The ratio of actual to packed size counts beyond `ratio_from_bytes`."""

    entries: int = 10_000
    directory_bytes: int = 16 << 20
    file_bytes: int = 256 << 20
    total_bytes: int = 1 << 30
    ratio: int = 200
    ratio_from_bytes: int = 1 << 20


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


def extract(archive: BinaryIO, top_fd: int, prefix: Sequence[str], caps: Caps) -> None:
    """Extract `archive` below `prefix` of the directory `top_fd`.

    All entries are checked before the first byte is written. BadArchive if it is refused; OSError
    (with the file's name) if writing fails.
    """
    budget = _Budget(caps, _check_end(archive, caps))
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _check_entries(opened.infolist(), caps)
            for entry in entries:
                if entry.directory:
                    os.close(open_directory(top_fd, (*prefix, *entry.parts)))
                else:
                    _write(opened, entry, top_fd, prefix, budget)
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
        raise BadArchive("is not a zip file: it has no end record")
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
    entries, seen = [], _SeenPaths()
    claimed = 0
    for zip_info in listed:
        try:
            entry = _check_entry(zip_info, caps)
            seen.add(entry)
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


class _SeenPaths:
    """Finds two entries that are one path, or would be on a system that ignores case."""

    def __init__(self) -> None:
        self._spelling: dict[str, str] = {}
        self._is_directory: dict[str, bool] = {}
        self._files: set[str] = set()

    def add(self, entry: Entry) -> None:
        """BadPath if `entry` collides with an earlier one."""
        for depth in range(1, len(entry.parts) + 1):
            path = "/".join(entry.parts[:depth])
            directory = entry.directory or depth < len(entry.parts)
            known = self._spelling.setdefault(_fold(path), path)
            if known != path:
                raise BadPath(f"differs only in case from {known!r}")
            earlier = self._is_directory.setdefault(path, directory)
            if earlier != directory:
                raise BadPath(f"makes {path!r} both a file and a directory")
            if not directory and path in self._files:
                raise BadPath("is there twice")
        if not entry.directory:
            self._files.add("/".join(entry.parts))


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


class _Budget:
    """Counts actual bytes against the caps, over the whole archive."""

    def __init__(self, caps: Caps, packed_bytes: int) -> None:
        self._caps = caps
        self._packed_bytes = packed_bytes
        self._total_bytes = 0

    def spend(self, count: int, *, entry_bytes: int, entry_packed_bytes: int) -> None:
        """`count` more bytes, with which the entry has `entry_bytes`; BadPath beyond a cap."""
        self._total_bytes += count
        if entry_bytes > self._caps.file_bytes:
            raise BadPath(f"holds more than {self._caps.file_bytes} bytes")
        if self._total_bytes > self._caps.total_bytes:
            raise BadPath(f"brings the archive beyond {self._caps.total_bytes} bytes")
        for actual, packed in (
            (entry_bytes, entry_packed_bytes),
            (self._total_bytes, self._packed_bytes),
        ):
            if actual > max(self._caps.ratio_from_bytes, self._caps.ratio * packed):
                raise BadPath(f"is packed more than {self._caps.ratio} times smaller than it is: a bomb")


def _write(
    opened: zipfile.ZipFile, entry: Entry, top_fd: int, prefix: Sequence[str], budget: _Budget
) -> None:
    """Write one file; BadArchive naming the entry if its data is refused."""
    fd = create_file(top_fd, (*prefix, *entry.parts), entry.mode)
    zip_info, written = entry.zip_info, 0
    try:
        with open(fd, "wb", buffering=0) as target, opened.open(zip_info) as source:
            while chunk := source.read(CHUNK_BYTES):
                written += len(chunk)
                budget.spend(len(chunk), entry_bytes=written, entry_packed_bytes=zip_info.compress_size)
                write_all(target.fileno(), chunk)
        if written != zip_info.file_size:
            raise BadPath(f"holds {written} bytes but claims {zip_info.file_size}")
    except (BadPath, *READ_ERRORS) as why:
        reason = str(why) if isinstance(why, BadPath) else f"cannot be unpacked: {why}"
        raise BadArchive(f"entry {zip_info.orig_filename!r} {reason}") from why
