"""The file of a backup: a gzip stream of records, counted and closed with a digest. One thread.

    khala backup 1\\n                  the format and its version
    H  {khala, schema, cluster_id, …}  once: where and when the backup was made
    S  {name, indexes}                 a collection begins
    D  documents, one after another    any number of times
    E  {documents, bytes}              the collection ends, with the count of what it had
    Z  {sections, documents, bytes, sha256}   the end: the digest is of every byte before this record

A record is its letter, the length of its content (4 bytes, big-endian) and the content: BSON documents,
which begin with their own lengths (bsonspec.org). A reader gives nothing for granted: an archive that was
cut off, changed or lengthened is refused, at the latest at its end.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import bson
from bson.errors import BSONError

from khala.errors import ConfigurationError

FORMAT_VERSION = 1
_WORDS = b"khala backup "
_HEAD = struct.Struct(">cI")
_DOCUMENT_HEAD = struct.Struct("<i")
_LONGEST = 64 << 20  # a batch of mongod's is at most 16 MB and one document
_COMPRESSION = 1
_HEADER, _SECTION, _DOCUMENTS, _SECTION_END, _END = b"H", b"S", b"D", b"E", b"Z"

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One collection in an archive; `indexes` as listIndexes tells them."""

    name: str
    indexes: tuple[Fields, ...] = ()


@dataclass(slots=True, kw_only=True)
class Tally:
    """How much there is."""

    documents: int = 0
    bytes: int = 0

    def add(self, other: Tally) -> None:
        """Count `other`, too."""
        self.documents += other.documents
        self.bytes += other.bytes


class ArchiveWriter:
    """Writes one archive: header, then each section with its documents, then `finish`."""

    def __init__(self, file: BinaryIO) -> None:
        self._stream = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_COMPRESSION, mtime=0)
        self._digest = hashlib.sha256()
        self._section = Tally()
        self._sections = 0
        self.total = Tally()
        self._write(b"%s%d\n" % (_WORDS, FORMAT_VERSION))

    def header(self, fields: Fields) -> None:
        """Say where this comes from; the first thing to write."""
        self._record(_HEADER, bson.encode(fields))

    def begin(self, section: Section) -> None:
        """Begin a collection."""
        self._section = Tally()
        self._record(_SECTION, bson.encode({"name": section.name, "indexes": list(section.indexes)}))

    def documents(self, batch: bytes) -> None:
        """Write whole documents of the section, one after another in `batch`."""
        count = sum(1 for _ in documents_in(batch))
        self._section.add(Tally(documents=count, bytes=len(batch)))
        self._record(_DOCUMENTS, batch)

    def end(self) -> Tally:
        """End the collection; what it had."""
        self._record(_SECTION_END, bson.encode(_fields_of(self._section)))
        self.total.add(self._section)
        self._sections += 1
        return self._section

    def finish(self) -> None:
        """Close the archive; the file stays the caller's."""
        closing = {"sections": self._sections, **_fields_of(self.total), "sha256": self._digest.digest()}
        self._record(_END, bson.encode(closing))
        self._stream.close()

    def _record(self, letter: bytes, content: bytes) -> None:
        self._write(_HEAD.pack(letter, len(content)))
        self._write(content)

    def _write(self, content: bytes) -> None:
        self._digest.update(content)
        self._stream.write(content)


class ArchiveReader:
    """Reads one archive; ConfigurationError, which names the file, as soon as something is not as written.

    Nothing that was read is worth anything until `sections` has come to its end. `on_read` is told, again
    and again, how many bytes of the file were read so far.
    """

    def __init__(self, file: BinaryIO, name: str, on_read: Callable[[int], None]) -> None:
        self._file = file
        self._name = name
        self._on_read = on_read
        self._stream = gzip.GzipFile(fileobj=file, mode="rb")
        self._digest = hashlib.sha256()
        self.contents: dict[str, Tally] = {}
        with self._checked():
            self._check_format()
            letter, content = self._next()
            if letter != _HEADER:
                raise self._damaged("it has no header")
            self.header: Fields = bson.decode(content)

    def sections(self) -> Iterator[tuple[Section, Iterator[bytes]]]:
        """Each collection with its documents in batches, which are to be read to their end in turn."""
        with self._checked():
            while True:
                before = self._digest.digest()
                letter, content = self._next()
                if letter == _END:
                    self._check_end(bson.decode(content), before)
                    return
                if letter != _SECTION:
                    raise self._damaged(f"a record {letter!r} is out of place")
                fields = bson.decode(content)
                section = Section(name=str(fields["name"]), indexes=tuple(fields["indexes"]))
                yield section, self._batches(section)
                if section.name not in self.contents:
                    raise ValueError(f"{section.name} was not read to its end")

    def _batches(self, section: Section) -> Iterator[bytes]:
        seen = Tally()
        with self._checked():
            while True:
                letter, content = self._next()
                if letter == _SECTION_END:
                    if bson.decode(content) != _fields_of(seen):
                        raise self._damaged(f"{section.name} has not the documents that it should have")
                    self.contents[section.name] = seen
                    return
                if letter != _DOCUMENTS:
                    raise self._damaged(f"a record {letter!r} is out of place in {section.name}")
                seen.add(Tally(documents=sum(1 for _ in documents_in(content)), bytes=len(content)))
                yield content

    def _check_format(self) -> None:
        words = self._read(len(_WORDS))
        if words != _WORDS:
            raise ConfigurationError(f"{self._name} is no backup of Khala's")
        version = b""
        while (letter := self._read(1)) != b"\n":
            version += letter
            if len(version) > 9 or not version.isdigit():
                raise self._damaged("its version is no number")
        if int(version) != FORMAT_VERSION:
            raise ConfigurationError(
                f"{self._name} has format {int(version)}, and this Khala reads format {FORMAT_VERSION}: "
                "use the Khala that wrote it"
            )

    def _check_end(self, closing: Fields, digest: bytes) -> None:
        total = Tally()
        for tally in self.contents.values():
            total.add(tally)
        expected = {"sections": len(self.contents), **_fields_of(total), "sha256": digest}
        if closing != expected:
            raise self._damaged("its closing digest or its counts do not agree with its content")
        if self._stream.read(1):
            raise self._damaged("something follows its end")

    def _next(self) -> tuple[bytes, bytes]:
        letter, length = _HEAD.unpack(self._read(_HEAD.size))
        if length > _LONGEST:
            raise self._damaged("a record is longer than any can be")
        content = self._read(length)
        self._on_read(self._file.tell())
        return letter, content

    def _read(self, count: int) -> bytes:
        content = self._stream.read(count)
        if len(content) != count:
            raise EOFError
        self._digest.update(content)
        return content

    def _damaged(self, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self._name} is damaged: {what}: use another backup")

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Everything that a damaged file makes the libraries say is one error."""
        try:
            yield
        except EOFError:
            raise self._damaged("it ends too early") from None
        except (gzip.BadGzipFile, zlib.error, BSONError, KeyError, TypeError, ValueError) as error:
            raise self._damaged(str(error)) from error


def documents_in(batch: bytes) -> Iterator[memoryview]:
    """The documents that lie one after another in `batch`; ValueError if they do not fill it exactly."""
    view, at = memoryview(batch), 0
    while at < len(batch):
        (length,) = _DOCUMENT_HEAD.unpack_from(batch, at) if len(batch) - at >= 4 else (0,)
        if length < 5 or at + length > len(batch):
            raise ValueError("a document's length is wrong")
        yield view[at : at + length]
        at += length


@contextmanager
def durable_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is `path` only once the block has ended well and everything is on the disk.

    Readable by its owner only (a backup holds digests of tokens). Until then it is PATH.part, which is
    removed when the block raises. ConfigurationError if it cannot be written there.
    """
    partial = path.with_name(path.name + ".part")
    try:
        with _open_partial(partial) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        folder = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror or error}") from error


def _open_partial(partial: Path) -> BinaryIO:
    """The file, empty, locked against another backup of the same name; what a killed one left is used."""
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    file = os.fdopen(descriptor, "wb")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not partial.exists() or not os.path.samestat(os.fstat(descriptor), partial.stat()):
            raise BlockingIOError  # the other one ended in this very moment
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, 0)
    except BaseException as failure:
        file.close()
        if isinstance(failure, BlockingIOError):
            raise ConfigurationError(f"another backup is being written to {partial}: wait for it") from None
        raise
    return file


def _fields_of(tally: Tally) -> Fields:
    return {"documents": tally.documents, "bytes": tally.bytes}
