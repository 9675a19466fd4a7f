"""Zip files at the door: is it one, is it modest, would it stay in its folder? And making small ones.

Looks at the directory of the archive only and never unpacks: the executor extracts with budgets on
actual bytes. Blocking; callers run it in a thread.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Iterable
from typing import BinaryIO

from khala.core.validation import check_path
from khala.errors import Refusal

MAX_ENTRIES = 10_000
MAX_DIRECTORY_BYTES = 4 * 1024 * 1024
_END = b"PK\x05\x06"
_END_BYTES = 22
_END64 = b"PK\x06\x06"
_END64_AND_LOCATOR_BYTES = 56 + 20
_MAX_COMMENT_BYTES = 65535
_ENCRYPTED = 0x1


def check_zip(file: BinaryIO, field: str) -> None:
    """Raise Refusal, `invalid` or `too_large`, unless `file` is a zip that may be extracted."""
    directory_bytes = _directory_bytes(file, field)
    if directory_bytes > file.seek(0, io.SEEK_END):
        raise _bad(field, "the zip file is damaged")
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise Refusal(f"{field}: the zip file has too many entries", code="too_large", field=field)
    try:
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        raise _bad(field, "the zip file is damaged") from error
    if len(entries) > MAX_ENTRIES:
        raise Refusal(f"{field}: at most {MAX_ENTRIES} files in a zip", code="too_large", field=field)
    for entry in entries:
        # ZipInfo.filename was cut at a NUL; what the archive says is in orig_filename.
        check_path(entry.orig_filename.removesuffix("/"), field)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _bad(field, "a zip may hold files and folders only, no links or devices")
        if entry.flag_bits & _ENCRYPTED:
            raise _bad(field, "the zip file is encrypted")


def write_zip(file: BinaryIO, entries: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip of (path, content) entries into `file`."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in entries:
            archive.writestr(path, content)


def _directory_bytes(file: BinaryIO, field: str) -> int:
    """The size of the archive's directory by its end records (APPNOTE 4.3.14 and 4.3.16), before
    anything is parsed: zipfile itself would read millions of entries."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _END_BYTES - _MAX_COMMENT_BYTES - _END64_AND_LOCATOR_BYTES))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise _bad(field, "expected a zip file")
    (directory_bytes,) = struct.unpack_from("<L", tail, at + 12)
    at64 = at - _END64_AND_LOCATOR_BYTES
    if at64 >= 0 and tail[at64:].startswith(_END64):
        (directory_bytes,) = struct.unpack_from("<Q", tail, at64 + 40)
    return int(directory_bytes)


def _bad(field: str, problem: str) -> Refusal:
    return Refusal(f"{field}: {problem}", field=field)
