"""Good and hostile tar files, plain and in gzip, straight into `extract`."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from khala.execution.launching.archive import BadArchive, Caps, extract

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
SMALL = Caps(
    entries=10, file_bytes=2000, total_bytes=5000, directory_bytes=20_000, ratio=20, ratio_from_bytes=4000
)
END = bytes(1024)


def packed(*entries: tuple[str, bytes], format: int = tarfile.PAX_FORMAT, **fields: object) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as archive:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            for field, value in fields.items():
                setattr(member, field, value)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def header(
    name: bytes = b"f", *, size: bytes = b"00000000000", kind: bytes = b"0", **changes: bytes
) -> bytes:
    """One header block, each field as given, with its right checksum."""
    block = bytearray(512)
    magic = changes.get("magic", b"ustar\x0000")
    for at, value in ((0, name), (100, b"0000644"), (124, size), (156, kind), (257, magic)):
        block[at : at + len(value)] = value
    prefix = changes.get("prefix", b"")
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b"%06o\0 " % (sum(block) + 8 * 32)
    return bytes(block)


def file_of(content: bytes, name: bytes = b"f", **fields: bytes) -> bytes:
    return header(name, size=b"%011o" % len(content), **fields) + content + bytes(-len(content) % 512)


def pax(*records: bytes, kind: bytes = b"x") -> bytes:
    return file_of(b"".join(records), b"./PaxHeaders/x", kind=kind)


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "top").mkdir()
    fd = os.open(tmp_path / "top", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def extracted(content: bytes, top: int, tmp_path: Path) -> dict[str, bytes]:
    extract(io.BytesIO(content), top, (), Caps())
    return files_below(tmp_path / "top")


@pytest.mark.parametrize("press", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_good_archive(top: int, tmp_path: Path, format: str, press: Callable[[bytes], bytes]) -> None:
    long = "/".join(["d" * 60] * 3) + "/é.txt"
    big = os.urandom(700_000)
    content = packed(
        ("./", b""), ("./a/", b""), ("./a/b.txt", b"b"), (long, b"long"), ("big", big), ("empty", b""),
        format=FORMATS[format],
    )  # fmt: skip
    extract(io.BytesIO(press(content)), top, ("in", "here"), Caps())
    assert files_below(tmp_path / "top/in/here") == {"a/b.txt": b"b", long: b"long", "big": big, "empty": b""}


def test_modes(top: int, tmp_path: Path) -> None:
    extract(io.BytesIO(packed(("run", b"x"), mode=0o4711)), top, (), Caps())
    extract(io.BytesIO(packed(("read", b"x"), mode=0o600)), top, (), Caps())
    assert (tmp_path / "top/run").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "top/read").stat().st_mode & 0o7777 == 0o644


@pytest.mark.parametrize("format", FORMATS)
def test_very_long_names(top: int, tmp_path: Path, format: str) -> None:
    name = "/".join(["d" * 120] * 4)
    if format == "ustar":
        name = f"{'d' * 90}/{'e' * 90}"
    assert extracted(packed((name, b"x"), format=FORMATS[format]), top, tmp_path) == {name: b"x"}


def test_old_and_odd_forms_that_are_good(top: int, tmp_path: Path) -> None:
    content = b"".join([
        header(b"old/", kind=b"\0", magic=b""),
        file_of(b"1", b"old/file", kind=b"\0", magic=b""),
        file_of(b"2", b"contiguous", kind=b"7"),
        header(b"base256", size=b"\x80" + bytes(10) + b"\x03") + b"abc" + bytes(509),
        file_of(b"3", b"spaces", prefix=b"pre"),
        pax(b"30 comment=0123456789abcdef01\n", kind=b"g"),
        pax(b"12 path=new\n", b"9 size=2\n", b"13 mtime=1.5\n"),
        header(b"cut \xc3", size=b"junk") + b"ok" + bytes(510),
        file_of(b"gnu/long\0", b"././@LongLink", kind=b"L"), file_of(b"4", b"gnu/lo", magic=b"ustar  \0"),
        END,
    ])  # fmt: skip
    assert extracted(content, top, tmp_path) == {
        "old/file": b"1", "contiguous": b"2", "base256": b"abc",
        "pre/spaces": b"3", "new": b"ok", "gnu/long": b"4",
    }  # fmt: skip


def test_an_empty_tar(top: int, tmp_path: Path) -> None:
    assert extracted(bytes(10_240), top, tmp_path) == {}
    assert extracted(gzip.compress(bytes(10_240)), top, tmp_path) == {}


HOSTILE = {
    "absolute": (file_of(b"", b"/etc/x") + END, "entry '/etc/x' is absolute"),
    "only root": (header(b"/", kind=b"5") + END, "entry '/' has an empty part"),
    "dot dot": (file_of(b"", b"a/../../x") + END, "entry 'a/../../x' has a '..'"),
    "dot dot by pax": (pax(b"16 path=../../x\n") + file_of(b"") + END, "has a '..'"),
    "dot dot by prefix": (file_of(b"", b"x", prefix=b"..") + END, "has a '..'"),
    "nul by pax": (pax(b"12 path=a\0b\n") + file_of(b"") + END, "has a NUL"),
    "nul by gnu": (file_of(b"a\0b\0", kind=b"L") + file_of(b"") + END, "has a NUL"),
    "backslash": (file_of(b"", b"..\\x") + END, "has a backslash"),
    "no name": (header(b"") + END, "has an empty part"),
    "empty part": (file_of(b"", b"a//b") + END, "has an empty part"),
    "long part": (pax(b"267 path=" + b"n" * 257 + b"\n") + file_of(b"") + END, "more than 255 bytes"),
    "deep": (file_of(b"", b"/".join([b"d"] * 33)) + END, "more than 32 levels"),
    "not utf-8": (file_of(b"", b"\xff") + END, "not UTF-8"),
    "hard link": (header(kind=b"1") + END, "entry 'f' is a hard link"),
    "symbolic link": (header(kind=b"2") + END, "is a symbolic link"),
    "long link": (file_of(b"x" * 200, kind=b"K") + END, "is a link"),
    "character device": (header(kind=b"3") + END, "is a character device"),
    "block device": (header(kind=b"4") + END, "is a block device"),
    "fifo": (header(kind=b"6") + END, "is a FIFO"),
    "sparse": (header(kind=b"S") + END, "is a sparse file"),
    "sparse by pax": (pax(b"22 GNU.sparse.major=1\n") + file_of(b"") + END, "is a sparse file"),
    "volume": (header(kind=b"V") + END, "is a volume's label"),
    "unknown kind": (header(kind=b"Z") + END, "of the kind 'Z'"),
    "case": (file_of(b"", b"Read") + file_of(b"", b"rEAD") + END, "differs only in case from 'Read'"),
    "composed": (file_of(b"", "\u00e9".encode()) + file_of(b"", "e\u0301".encode()) + END, "only in case"),
    "twice": (file_of(b"", b"a") + file_of(b"", b"./a") + END, "is there twice"),
    "file and folder": (file_of(b"", b"a") + file_of(b"", b"a/b") + END, "both a file and a directory"),
    "folder with content": (file_of(b"x", b"a/", kind=b"5") + END, "a directory with content"),
    "too many": (b"".join(file_of(b"", b"f%d" % n) for n in range(11)) + END, "more than 10 entries"),
    "too large": (header(size=b"%011o" % 2001) + bytes(2560) + END, "claims 2001 bytes; at most 2000"),
    "too large in all": (b"".join(file_of(b"x" * 1500, b"%d" % n) for n in range(4)), "beyond 5000 bytes"),
    "absurd size": (header(size=b"\x80\xff" + bytes(9) + b"\x01") + END, "absurd size"),
    "negative size": (header(size=b"\xff" * 12) + END, "no number"),
    "size with underscore": (header(size=b"0_7") + END, "no number"),
    "size beyond the end": (header(size=b"%011o" % 1500) + bytes(512), "ends before its content"),
    "long metadata": (pax(b"x" * 70_000) + END, "too great a length"),
    "endless metadata": (pax(b"8 a=123\n") * 50 + END, "too great a length"),
    "pax length 0": (pax(b"0 a=b\n") + file_of(b"") + END, "damaged"),
    "pax length short": (pax(b"3 a=b\n") + file_of(b"") + END, "damaged"),
    "pax length long": (pax(b"99 a=b\n") + file_of(b"") + END, "damaged"),
    "pax no equals": (pax(b"6 abc\n") + file_of(b"") + END, "damaged"),
    "pax odd size": (pax(b"11 size=-1\n") + file_of(b"") + END, "size that is no number"),
    "a path for all": (pax(b"10 path=a\n", kind=b"g") + file_of(b"") + END, "to all entries"),
    "bad checksum": (file_of(b"") + header()[:147] + b"\1" + header()[148:] + END, "checksum is wrong"),
    "no end": (file_of(b"abc"), "is cut off after 1 entries"),
    "cut header": (file_of(b"abc") + header()[:100], "is cut off"),
    "after the end": (file_of(b"") + END + file_of(b"", b"g") + END, "goes on after its end"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(600), "is packed by zstd, which is not taken"),
    "xz": (b"\xfd7zXZ\0" + bytes(600), "is packed by xz"),
    "bzip2": (b"BZh9" + bytes(600), "is packed by bzip2"),
    "cut gzip": (gzip.compress(packed(("a", os.urandom(900))))[:-20], "its end is missing"),
    "gzip of no tar": (gzip.compress(b"hello" * 200), "checksum is wrong"),
    "gzip and junk": (gzip.compress(packed(("a", os.urandom(900)))) + b"junk", "cannot be unpacked"),
    "gzip with a wrong sum": (gzip.compress(packed(("a", bytes(99))))[:-8] + bytes(8), "cannot be"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives(top: int, tmp_path: Path, case: str) -> None:
    content, why = HOSTILE[case]
    with pytest.raises(BadArchive) as refused:
        extract(io.BytesIO(content), top, (), SMALL)
    assert why in str(refused.value)
    assert {path.name for path in tmp_path.iterdir()} == {"top"}
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_bombs(top: int) -> None:
    zeros = header(size=b"%011o" % (200 << 20)) + bytes(200 << 20) + END
    with pytest.raises(BadArchive, match=r"entry 'f' is packed more than 200 times smaller .* a bomb"):
        extract(io.BytesIO(gzip.compress(zeros, 1)), top, (), Caps())
    in_padding = gzip.compress(END + bytes(100 << 20), 1)
    with pytest.raises(BadArchive, match="a bomb"):
        extract(io.BytesIO(in_padding), top, (), Caps())
    with pytest.raises(BadArchive, match="goes on after its end"):
        extract(io.BytesIO(END + bytes(20 << 20)), top, (), Caps())


def test_endless_gzip_members_cost_little(top: int) -> None:
    began = time.thread_time()
    with pytest.raises(BadArchive, match="more than 10000 gzip members"):
        extract(io.BytesIO(gzip.compress(b"") * 300_000), top, (), Caps())
    assert time.thread_time() - began < 10


def test_memory_is_bounded(top: int, tmp_path: Path) -> None:
    content = gzip.compress(packed(("big", os.urandom(1 << 20) * 30)), 1)
    tracemalloc.start()
    try:
        extract(io.BytesIO(content), top, (), Caps())
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


GOOD = packed(("first", b"1"), ("d/name", b"content"), format=tarfile.GNU_FORMAT)


def survive(content: bytes, folder: Path) -> None:
    """It is extracted or refused, and makes nothing but files and directories below `folder`."""
    folder.mkdir()
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        extract(io.BytesIO(content), fd, (), Caps())
    except (BadArchive, FileExistsError):
        return
    finally:
        os.close(fd)
        assert all(path.is_dir() or path.is_file() for path in folder.rglob("*"))
        assert not any(path.is_symlink() for path in folder.rglob("*"))


def test_every_flipped_byte_is_survived(tmp_path: Path) -> None:
    for at in range(2048):
        content = bytearray(GOOD)
        content[at] ^= 0xFF
        survive(bytes(content), tmp_path / str(at))


def test_every_cut_is_survived(tmp_path: Path) -> None:
    pressed = gzip.compress(GOOD)
    for at in range(len(pressed)):
        survive(pressed[:at], tmp_path / str(at))


BLOCKS = st.one_of(
    st.builds(
        header,
        st.binary(max_size=100),
        size=st.sampled_from([b"", b"0", b"00000000002", b"77777777777", b"\x80" + bytes(11), b"x"]),
        kind=st.sampled_from([bytes([kind]) for kind in b"\x00\x300123456789xgLKSVMND\xff"]),
        prefix=st.binary(max_size=155),
        magic=st.sampled_from([b"ustar\x0000", b"ustar  \0", b""]),
    ),
    st.builds(file_of, st.binary(max_size=600), st.text(max_size=30).map(lambda text: text.encode()[:100])),
    st.builds(pax, st.binary(max_size=600)),
    st.builds(
        lambda data, kind: file_of(data, kind=kind),
        st.binary(max_size=600),
        st.sampled_from([b"L", b"g", b"x"]),
    ),
    st.binary(min_size=512, max_size=512),
    st.just(bytes(512)),
)


@settings(
    max_examples=300,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(blocks=st.lists(BLOCKS, max_size=8), press=st.booleans())
def test_any_blocks_are_survived(tmp_path: Path, blocks: list[bytes], press: bool) -> None:
    content = b"".join(blocks) + END
    survive(zlib.compress(content, wbits=31) if press else content, tmp_path / os.urandom(8).hex())
