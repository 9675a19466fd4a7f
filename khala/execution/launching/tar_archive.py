"""Extracting a tar file, plain or in gzip, that nobody vouches for; own parser, one pass, bounded memory.

The forms: V7, ustar, pax (POSIX.1-2001, "pax Interchange Format") and GNU's long names and base-256
sizes (GNU tar manual, "Basic Tar Format"). Each entry is checked before any of it is written. What is
no regular file and no directory is refused, not skipped.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH123

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from .archive_bounds import CHUNK_BYTES, BadArchive, Budget, Caps, SeenPaths
from .workspace import BadPath, create_file, open_directory, relative_parts, write_all

BLOCK_BYTES = 512
EMPTY_BLOCK = bytes(BLOCK_BYTES)
MAX_METADATA_BYTES = 64 << 10
MAX_SIZE_BYTES = 1 << 62
MAX_MEMBERS = 10_000
PACKED_BYTES = 1 << 14
GZIP_WBITS = 31
USTAR_MAGIC = b"ustar\x0000"
REGULAR, DIRECTORY, PAX, PAX_GLOBAL, LONG_NAME = "07\0", "5", "x", "g", "L"
METADATA = (PAX, PAX_GLOBAL, LONG_NAME)
REFUSED_KINDS = {
    "1": "a hard link", "2": "a symbolic link", "3": "a character device", "4": "a block device",
    "6": "a FIFO", "K": "a link", "S": "a sparse file", "V": "a volume's label", "M": "a part of a file",
}  # fmt: skip
_OCTAL = re.compile(rb"[0-7]{1,24}")
_DECIMAL = re.compile(rb"[0-9]{1,19}")


class Source(Protocol):
    """The bytes of the tar itself."""

    def read(self, count: int) -> bytes:
        """At most `count` bytes; empty only at the end. BadPath if it goes beyond a cap."""
        ...


def is_tar_header(block: bytes) -> bool:
    """Could a tar file begin with `block`? An empty tar begins with its end."""
    return len(block) == BLOCK_BYTES and (block == EMPTY_BLOCK or _checksum_is_right(block))


def extract_tar(archive: BinaryIO, top_fd: int, prefix: Sequence[str], caps: Caps) -> None:
    """See `archive.extract`."""
    _Extraction(_Plain(archive), top_fd, prefix, caps, Budget(caps)).run()


def extract_tar_gz(archive: BinaryIO, top_fd: int, prefix: Sequence[str], caps: Caps) -> None:
    """See `archive.extract`."""
    budget = Budget(caps)
    _Extraction(_Gunzip(archive, budget), top_fd, prefix, caps, budget).run()


class _Plain:
    """A tar as it lies there."""

    def __init__(self, archive: BinaryIO) -> None:
        self._archive = archive

    def read(self, count: int) -> bytes:
        return self._archive.read(min(count, CHUNK_BYTES))


class _Gunzip:
    """A tar out of one or more gzip members (RFC 1952), whose checksums zlib compares.

    zlib copies what it has not used at every call, so it is given little at a time, and asked for much.
    """

    def __init__(self, archive: BinaryIO, budget: Budget) -> None:
        self._archive = archive
        self._budget = budget
        self._inflate = zlib.decompressobj(wbits=GZIP_WBITS)
        self._members = 1
        self._packed = self._data = b""
        self._at = self._read_bytes = self._unpacked_bytes = 0

    def read(self, count: int) -> bytes:
        if self._at == len(self._data):
            self._data, self._at = self._unpack(), 0
        data = self._data[self._at : self._at + count]
        self._at += len(data)
        return data

    def _unpack(self) -> bytes:
        """The next bytes; none at the end."""
        while True:
            self._packed = self._packed or self._archive.read(PACKED_BYTES)
            if self._inflate.eof:
                if not self._packed:
                    return b""
                self._begin_member()
            at_end = not self._packed
            self._read_bytes += len(self._packed)
            try:
                data = self._inflate.decompress(self._packed, CHUNK_BYTES)
            except zlib.error as why:
                raise BadArchive(f"cannot be unpacked: {why}") from why
            self._packed = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            self._read_bytes -= len(self._packed)
            if data:
                self._unpacked_bytes += len(data)
                self._budget.check_ratio(self._unpacked_bytes, self._read_bytes)
                return data
            if at_end and not self._inflate.eof:
                raise BadArchive("cannot be unpacked: its end is missing")

    def _begin_member(self) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise BadArchive(f"is packed in more than {MAX_MEMBERS} gzip members")
        self._inflate = zlib.decompressobj(wbits=GZIP_WBITS)


@dataclass(slots=True)
class _Told:
    """What metadata entries said of the next entry."""

    name: str | None = None
    size: int | None = None


@dataclass(slots=True)
class _Header:
    """A header block, with what was told before it taken in."""

    name: str
    kind: str
    size: int
    mode: int


class _Extraction:
    """One pass over one tar."""

    def __init__(
        self, source: Source, top_fd: int, prefix: Sequence[str], caps: Caps, budget: Budget
    ) -> None:
        self._source = source
        self._top_fd = top_fd
        self._prefix = tuple(prefix)
        self._caps = caps
        self._budget = budget
        self._seen = SeenPaths()
        self._entries = 0
        self._metadata_bytes = 0
        self._name = ""

    def run(self) -> None:
        """All of it."""
        try:
            told = _Told()
            while (block := self._read_exactly(BLOCK_BYTES)) != EMPTY_BLOCK:
                header = self._header(block, told)
                if header.kind in METADATA:
                    self._take_metadata(header, told)
                else:
                    self._take_entry(header)
                    told = _Told()
                    self._name = ""
            self._require_end()
        except BadPath as why:
            where = f"entry {self._name!r} " if self._name else f"the header after {self._entries} entries "
            raise BadArchive(f"{where}{why}") from why

    def _header(self, block: bytes, told: _Told) -> _Header:
        if not _checksum_is_right(block):
            raise BadPath("is damaged: its checksum is wrong")
        kind = chr(block[156])
        if kind in METADATA:
            return _Header(name="", kind=kind, size=_number(block[124:136]), mode=0)
        # The short name beside a long one may be cut anywhere.
        self._name = _name_in(block) if told.name is None else told.name
        size = _number(block[124:136]) if told.size is None else told.size
        return _Header(name=self._name, kind=kind, size=size, mode=_number(block[100:108]))

    def _take_metadata(self, header: _Header, told: _Told) -> None:
        self._metadata_bytes += BLOCK_BYTES + header.size
        if header.size > MAX_METADATA_BYTES or self._metadata_bytes > self._caps.directory_bytes:
            raise BadPath("describes entries at too great a length")
        data = self._read_exactly(header.size)
        self._skip_padding(header.size)
        if header.kind == LONG_NAME:
            told.name = _decoded(data.removesuffix(b"\0"))
            return
        for key, value in _pax_records(data):
            if key.startswith(b"GNU.sparse."):
                raise BadPath("is a sparse file")
            if key not in (b"path", b"size"):
                continue
            if header.kind == PAX_GLOBAL:
                raise BadPath("gives one path or size to all entries")
            if key == b"path":
                told.name = _decoded(value)
            elif not _DECIMAL.fullmatch(value):
                raise BadPath("has a size that is no number")
            else:
                told.size = int(value)

    def _take_entry(self, header: _Header) -> None:
        self._entries += 1
        if self._entries > self._caps.entries:
            raise BadArchive(f"has more than {self._caps.entries} entries")
        if header.kind not in REGULAR + DIRECTORY:
            what = REFUSED_KINDS.get(header.kind, f"of the kind {header.kind!r}")
            raise BadPath(f"is {what}; only regular files and directories are taken")
        # V7 knew a directory by its name.
        directory = header.kind == DIRECTORY or header.name.endswith("/")
        if "\\" in header.name:
            raise BadPath("has a backslash")
        if directory and header.size:
            raise BadPath("is a directory with content")
        if directory and set(header.name.split("/")) <= {".", ""} and not header.name.startswith("/"):
            return  # `tar -c .` begins with its own top
        parts = relative_parts(header.name.removesuffix("/") if directory else header.name)
        self._seen.add(parts, directory=directory)
        if directory:
            os.close(open_directory(self._top_fd, (*self._prefix, *parts)))
        else:
            self._write(header, parts)

    def _write(self, header: _Header, parts: tuple[str, ...]) -> None:
        if header.size > self._caps.file_bytes:
            raise BadPath(f"claims {header.size} bytes; at most {self._caps.file_bytes} are allowed")
        if self._budget.total_bytes + header.size > self._caps.total_bytes:
            raise BadPath(f"brings the archive beyond {self._caps.total_bytes} bytes")
        mode = 0o755 if header.mode & 0o111 else 0o644
        fd = create_file(self._top_fd, (*self._prefix, *parts), mode)
        written = 0
        with open(fd, "wb", buffering=0) as target:
            while written < header.size:
                data = self._source.read(header.size - written)
                if not data:
                    raise BadPath("ends before its content does")
                written += len(data)
                self._budget.spend(len(data), entry_bytes=written)
                write_all(target.fileno(), data)
        self._skip_padding(header.size)

    def _skip_padding(self, size: int) -> None:
        self._read_exactly(-size % BLOCK_BYTES)

    def _read_exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            more = self._source.read(count - len(data))
            if not more:
                raise BadArchive(
                    f"is cut off after {self._entries} entries: a tar file ends with an empty block"
                )
            data += more
        return bytes(data)

    def _require_end(self) -> None:
        """Only padding may follow, so that no other reader sees more in it than this one."""
        self._name, padding_bytes = "", 0
        while data := self._source.read(CHUNK_BYTES):
            padding_bytes += len(data)
            if data.count(0) != len(data) or padding_bytes > self._caps.directory_bytes:
                raise BadArchive("goes on after its end")


def _checksum_is_right(block: bytes) -> bool:
    """The sum of all bytes, with blanks in the checksum's place; old tars summed signed bytes."""
    told = block[148:156].strip(b" \0")
    if not _OCTAL.fullmatch(told):
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    unsigned = sum(rest)
    signed = unsigned - 256 * sum(byte > 127 for byte in rest)
    return int(told, 8) in (unsigned, signed)


def _number(data: bytes) -> int:
    """Octal digits between blanks and NULs, or GNU's base-256 behind a first byte of 0x80."""
    if data[0] == 0x80:
        number = int.from_bytes(data[1:], "big")
    else:
        digits = data.strip(b" \0") or b"0"
        if not _OCTAL.fullmatch(digits):
            raise BadPath("has a size or mode that is no number")
        number = int(digits, 8)
    if number > MAX_SIZE_BYTES:
        raise BadPath("claims an absurd size")
    return number


def _name_in(block: bytes) -> str:
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:265] == USTAR_MAGIC else b""
    return _decoded(prefix + b"/" + name if prefix else name)


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise BadPath(f"has a name that is not UTF-8: {name[:64]!r}") from None


def _pax_records(data: bytes) -> list[tuple[bytes, bytes]]:
    """The records `length key=value newline`; length counts all of it."""
    records, at = [], 0
    while at < len(data):
        blank = data.find(b" ", at, at + 8)
        digits = data[at:blank] if blank > 0 else b""
        if not _DECIMAL.fullmatch(digits):
            raise BadPath("has a pax header that is damaged")
        end = at + int(digits)
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= blank + 1 or data[end - 1 : end] != b"\n" or not equals:
            raise BadPath("has a pax header that is damaged")
        records.append((key, value))
        at = end
    return records
