"""Hostile zip files, one by one, straight into `extract`."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from khala.execution.launching.archive import BadArchive, Caps, extract

Entry = tuple[zipfile.ZipInfo | str, bytes]


def packed(*entries: Entry, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return target.getvalue()


def of_kind(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = mode << 16
    return entry


def renamed(content: bytes, old: bytes, new: bytes) -> bytes:
    """The archive with a name that zipfile would not write."""
    assert len(old) == len(new)
    assert content.count(old) == 2
    return content.replace(old, new)


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "top").mkdir()
    fd = os.open(tmp_path / "top", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_good_archive(top: int, tmp_path: Path, method: int) -> None:
    content = packed(
        ("a/b.txt", b"b"), (of_kind("run", stat.S_IFREG | 0o755), b"x"), ("a/", b""), ("./c", b""),
        ("é/ü", b"utf"), ("big", os.urandom(700_000)), method=method,
    )  # fmt: skip
    extract(io.BytesIO(content), top, ("in", "here"), Caps())
    found = files_below(tmp_path / "top" / "in" / "here")
    assert found.keys() == {"a/b.txt", "run", "c", "é/ü", "big"}
    assert found["é/ü"] == b"utf"
    assert len(found["big"]) == 700_000
    assert os.access(tmp_path / "top/in/here/run", os.X_OK)
    assert (tmp_path / "top/in/here/a/b.txt").stat().st_mode & 0o111 == 0


GOOD = packed(("first", b"1"), ("name", b"content"))
MANY = packed(*((f"f{n}", b"") for n in range(11)))
HOSTILE = {
    "absolute": (packed(("/etc/x", b"")), "'/etc/x' is absolute"),
    "dot dot": (packed(("a/../../x", b"")), "has a '..'"),
    "nul": (renamed(GOOD, b"name", b"na\0e"), "has a NUL"),
    "backslash": (renamed(GOOD, b"name", b"..\\x"), "has a backslash"),
    "empty name": (packed(("a//b", b"")), "has an empty part"),
    "long name": (packed(("n" * 256, b"")), "more than 255 bytes"),
    "deep": (packed(("/".join("d" * 33), b"")), "more than 32 levels"),
    "link": (packed((of_kind("l", stat.S_IFLNK | 0o777), b"/etc")), "neither a regular file nor a directory"),
    "device": (packed((of_kind("d", stat.S_IFBLK | 0o666), b"")), "neither a regular file"),
    "fifo": (packed((of_kind("p", stat.S_IFIFO | 0o666), b"")), "neither a regular file"),
    "socket": (packed((of_kind("s", stat.S_IFSOCK | 0o666), b"")), "neither a regular file"),
    "link named like a folder": (packed((of_kind("l/", stat.S_IFLNK | 0o777), b"")), "neither a regular"),
    "case": (packed(("Read", b""), ("rEAD", b"")), "differs only in case from 'Read'"),
    "case of a folder": (packed(("Lib/a", b""), ("lib/b", b"")), "differs only in case"),
    "case of unicode": (packed(("straße", b""), ("STRASSE", b"")), "differs only in case"),
    "composed": (packed(("\u00e9", b""), ("e\u0301", b"")), "differs only in case"),
    "file and folder": (packed(("a", b""), ("a/b", b"")), "both a file and a directory"),
    "folder and file": (packed(("a/b", b""), ("a", b"")), "both a file and a directory"),
    "other method": (packed(("x", b"x" * 100), method=zipfile.ZIP_BZIP2), "packed by method 12"),
    "lzma": (packed(("x", b"x" * 100), method=zipfile.ZIP_LZMA), "packed by method 14"),
    "too many": (MANY, "11 entries; at most 10"),
    "too large": (packed(("x", os.urandom(3000))), "claims 3000 bytes; at most 2000"),
    "too large in all": (packed(*((f"f{n}", os.urandom(1500)) for n in range(4))), "more than 5000 bytes"),
    "bomb": (packed(("x", b"\0" * 1900)), "a bomb"),
    "no zip": (b"no zip file at all", "no end record"),
    "empty": (b"", "no end record"),
    "cut": (GOOD[:-30], "no end record"),
    "cut in front": (GOOD[40:], "cannot be unpacked"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives(top: int, tmp_path: Path, case: str) -> None:
    content, why = HOSTILE[case]
    caps = Caps(entries=10, file_bytes=2000, total_bytes=5000, ratio=20, ratio_from_bytes=1000)
    with pytest.raises(BadArchive) as refused:
        extract(io.BytesIO(content), top, (), caps)
    assert why in str(refused.value)
    if case not in ("bomb", "cut in front"):
        assert files_below(tmp_path) == {}, "all entries are checked before the first byte is written"


def test_a_name_that_is_there_twice(top: int) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = packed(("a", b"1"), ("a", b"2"))
    with pytest.raises(BadArchive, match="is there twice"):
        extract(io.BytesIO(content), top, (), Caps())


def test_encrypted(top: int) -> None:
    content = bytearray(GOOD)
    at = content.rfind(b"PK\x01\x02")
    content[at + 8] |= 1
    with pytest.raises(BadArchive, match="is encrypted"):
        extract(io.BytesIO(bytes(content)), top, (), Caps())


def test_wrong_content(top: int) -> None:
    content = packed(("x", b"genuine"), method=zipfile.ZIP_STORED).replace(b"genuine", b"genuinf")
    with pytest.raises(BadArchive, match="entry 'x' cannot be unpacked: Bad CRC-32"):
        extract(io.BytesIO(content), top, (), Caps())


def test_a_lying_size(top: int) -> None:
    content = bytearray(packed(("x", b"\0" * 5000)))
    at = content.rfind(b"PK\x01\x02")
    struct.pack_into("<L", content, at + 24, 10)
    with pytest.raises(BadArchive, match="entry 'x'"):
        extract(io.BytesIO(bytes(content)), top, (), Caps(file_bytes=1000))


def test_a_lying_packed_size_does_not_hide_a_bomb(top: int) -> None:
    content = bytearray(packed(("x", b"\0" * 4_000_000)))
    at = content.rfind(b"PK\x01\x02")
    struct.pack_into("<L", content, at + 20, 4_000_000)
    with pytest.raises(BadArchive, match=r"entry 'x' .*(bomb|unpacked)"):
        extract(io.BytesIO(bytes(content)), top, (), Caps())


def test_a_huge_directory_is_refused_before_it_is_read(top: int) -> None:
    content = bytearray(GOOD)
    at = content.rfind(b"PK\x05\x06")
    struct.pack_into("<L", content, at + 12, 1 << 30)
    with pytest.raises(BadArchive, match="directory of more than"):
        extract(io.BytesIO(bytes(content)), top, (), Caps())


def test_zip64(top: int) -> None:
    at = GOOD.rfind(b"PK\x05\x06")
    content = GOOD[:at] + b"PK\x06\x07" + bytes(16) + GOOD[at:]
    with pytest.raises(BadArchive, match="zip64"):
        extract(io.BytesIO(content), top, (), Caps())


def test_every_flipped_byte_is_survived(top: int) -> None:
    for at in range(len(GOOD)):
        content = bytearray(GOOD)
        content[at] ^= 0xFF
        try:
            extract(io.BytesIO(bytes(content)), top, (str(at),), Caps())
        except (BadArchive, FileExistsError):
            continue
