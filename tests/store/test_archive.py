"""The file of a backup: what was written is read, and whatever was done to it since is noticed."""

from __future__ import annotations

import gzip
import io
import stat
from collections.abc import Callable
from pathlib import Path

import bson
import pytest

from khala.errors import ConfigurationError
from khala.store.archive import ArchiveReader, ArchiveWriter, Section, documents_in, durable_file

DOCUMENTS = [{"_id": number, "word": "x" * number} for number in range(5)]
INDEX = {"v": 2, "key": {"word": 1}, "name": "word"}


def an_archive() -> bytes:
    file = io.BytesIO()
    archive = ArchiveWriter(file)
    archive.header({"cluster_id": "c"})
    archive.begin(Section(name="a", indexes=(INDEX,)))
    archive.documents(b"".join(bson.encode(each) for each in DOCUMENTS[:3]))
    archive.documents(b"".join(bson.encode(each) for each in DOCUMENTS[3:]))
    archive.end()
    archive.begin(Section(name="empty"))
    archive.end()
    archive.finish()
    return file.getvalue()


def read(content: bytes, on_read: Callable[[int], None] = lambda done: None) -> dict[str, list[object]]:
    archive = ArchiveReader(io.BytesIO(content), "the file", on_read)
    found = {section.name: b"".join(batches) for section, batches in archive.sections()}
    assert archive.header == {"cluster_id": "c"}
    return {name: [bson.decode(each) for each in documents_in(content)] for name, content in found.items()}


def repacked(change: Callable[[bytes], bytes]) -> bytes:
    """The archive with something changed below gzip's own checks."""
    return gzip.compress(change(gzip.decompress(an_archive())))


def test_what_was_written_is_read() -> None:
    done: list[int] = []
    content = an_archive()
    assert read(content, done.append) == {"a": DOCUMENTS, "empty": []}
    assert done == sorted(done) and done[-1] == len(content)
    archive = ArchiveReader(io.BytesIO(content), "the file", done.append)
    sections = [section for section, batches in archive.sections() if list(batches) is not None]
    assert sections == [Section(name="a", indexes=(INDEX,)), Section(name="empty")]
    assert archive.contents["a"].documents == 5


def test_every_shortened_file_is_refused() -> None:
    content, plain = an_archive(), gzip.decompress(an_archive())
    for length in range(len(content)):
        with pytest.raises(ConfigurationError, match="the file"):
            read(content[:length])
    for length in range(len(plain)):
        with pytest.raises(ConfigurationError, match="the file"):
            read(gzip.compress(plain[:length]))


def test_every_changed_byte_is_noticed() -> None:
    plain = gzip.decompress(an_archive())
    for at in range(len(plain)):
        changed = bytearray(plain)
        changed[at] ^= 0x10
        with pytest.raises(ConfigurationError):
            read(gzip.compress(bytes(changed)))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "ends too early"),
        (b"words", "the file"),
        (gzip.compress(b"words of somebody else"), "no backup of Khala's"),
        (repacked(lambda plain: plain.replace(b"backup 1\n", b"backup 2\n")), "format 2"),
        (repacked(lambda plain: plain + b"more"), "something follows"),
        (an_archive() + an_archive(), "something follows"),
        (repacked(lambda plain: plain[:15] + b"H\xff\xff\xff\xff" + plain[20:]), "longer than any"),
    ],
    ids=["empty", "plain", "other gzip", "format", "more", "two", "too long"],
)
def test_refusals_say_why(content: bytes, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        read(content)


def test_a_section_that_is_not_read_to_its_end_is_a_mistake() -> None:
    archive = ArchiveReader(io.BytesIO(an_archive()), "the file", lambda done: None)
    with pytest.raises(ConfigurationError):
        list(archive.sections())


def test_a_file_appears_only_when_it_is_whole_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    with durable_file(path) as file:
        file.write(b"all")
        assert [each.name for each in tmp_path.iterdir()] == ["backup.part"]
    assert path.read_bytes() == b"all"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(KeyError), durable_file(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"all"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_backup_left_is_used_and_a_living_one_respected(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    (tmp_path / "backup.part").write_bytes(b"left, and longer than the next")
    with durable_file(path) as file:
        file.write(b"all")
        with pytest.raises(ConfigurationError, match="another backup"), durable_file(path):
            raise AssertionError("two at once")
    assert path.read_bytes() == b"all"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no/backup"), durable_file(tmp_path / "no" / "backup"):
        raise AssertionError("it was opened")
    (tmp_path / "backup.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="backup"), durable_file(tmp_path / "backup"):
        raise AssertionError("a link was followed")
