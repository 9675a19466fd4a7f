"""The executor's journal on disk: what `khala.core.execution` decided to write down before it acts.

An append-only file. After the header (magic, and a random salt that seeds every checksum, so that
no task can forge a frame in its output) comes one frame a batch: length, crc32, a MessagePack list
of records. A batch is durable when `append` returns; a crash can only tear the last frame, which
`load` cuts off. All calls in the owner's thread; one process at a time, held to it by a lock file.

Zeros may follow the last frame: room written ahead. A sync of bytes that the file has already takes one
write of the disk; one that makes the file longer takes a commit of the file system too, five times as
long (fdatasync(2) on ext4).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from khala.core.journal import JournalRecord
from khala.errors import ConfigurationError, Fault, Unavailable

MAGIC = b"KHALAJ1\n"
SALT_BYTES = 8
HEADER_BYTES = len(MAGIC) + SALT_BYTES
FRAME = struct.Struct(">II")
COMPACT_RECORDS = 512
FULL = (errno.ENOSPC, errno.EDQUOT)


class Journal:
    """Open it, `load` once, then `append` and `compact`. `room_bytes` at a time are made ready ahead.

    Raises ConfigurationError if another process has it, or it is damaged before its last batch.
    """

    def __init__(self, path: Path, *, room_bytes: int = 0) -> None:
        self._path = path
        self._room_bytes = room_bytes
        self._fd = -1
        self._size_bytes = 0
        self._ready_bytes = 0
        self._salt = b""
        self._broken = ""
        self._decoder = msgspec.msgpack.Decoder(list[JournalRecord])
        self._encoder = msgspec.msgpack.Encoder()
        self._lock_fd = self._lock()
        self.cut_bytes = 0

    @property
    def size_bytes(self) -> int:
        """The length of the file, but for room written ahead."""
        return self._size_bytes

    def load(self) -> list[JournalRecord]:
        """All records, oldest first. A torn tail is cut off the file; `cut_bytes` says how much."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError as error:
            raise ConfigurationError(f"{self._path}: {error.strerror}; choose another --data-dir") from error
        if len(content) < HEADER_BYTES and MAGIC.startswith(content[: len(MAGIC)]):
            self.cut_bytes = len(content)
            self._replace([])
            return []
        if not content.startswith(MAGIC):
            raise ConfigurationError(
                f"{self._path} is no journal of this version; move it away, or use the version that wrote it"
            )
        self._salt = content[len(MAGIC) : HEADER_BYTES]
        records, end = self._parse(content)
        used = len(content.rstrip(b"\0"))
        if end < used and self._any_frame_after(content, end, used):
            raise ConfigurationError(
                f"{self._path} is damaged at byte {end}, before its last batch: the disk lost confirmed "
                "data; check the disk, then move the file away to start anew as an empty executor"
            )
        self._open(end, cut=len(content) - end if end < used else 0)
        if end < len(content):
            os.ftruncate(self._fd, end)
            os.fdatasync(self._fd)
        return records

    def append(self, records: Sequence[JournalRecord]) -> None:
        """Write the batch and have it on the disk. Unavailable if the disk is full (nothing is written
        then), Fault if the disk fails: the journal takes nothing more until it is opened anew."""
        self._require_usable()
        if not records:
            return
        frame = self._frame(records)
        if self._room_bytes and self._size_bytes + len(frame) > self._ready_bytes:
            self._make_room(self._size_bytes + len(frame) + self._room_bytes)
        try:
            _write_at(self._fd, frame, self._size_bytes)
            os.fdatasync(self._fd)
        except OSError as error:
            self._undo(error)
        self._size_bytes += len(frame)

    def compact(self, keep: Sequence[JournalRecord]) -> None:
        """Replace the whole content by `keep`, atomically: a crash leaves the old or the new one."""
        self._require_usable()
        self._replace(keep)

    def close(self) -> None:
        """Let go of the file and its lock; may be called again."""
        for fd in (self._fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock_fd = -1

    def _make_room(self, up_to: int) -> None:
        """Zeros from the end of the file on. Where the disk has no room for them, the batch may still have
        some: that is for its own write to find out."""
        from_bytes = max(self._size_bytes, self._ready_bytes)
        try:
            _write_at(self._fd, bytes(up_to - from_bytes), from_bytes)
            os.fdatasync(self._fd)
        except OSError as error:
            if error.errno not in FULL:
                self._undo(error)
            os.ftruncate(self._fd, self._size_bytes)
            up_to = 0
        self._ready_bytes = up_to

    def _lock(self) -> int:
        path = self._path.with_name(self._path.name + ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}; choose another --data-dir") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise ConfigurationError(
                f"{self._path.parent} is in use by another executor; give each its own --data-dir"
            ) from None
        return fd

    def _parse(self, content: bytes) -> tuple[list[JournalRecord], int]:
        """The records of all good frames from the start, and where the last of them ends."""
        records: list[JournalRecord] = []
        at = HEADER_BYTES
        while (payload := self._payload(content, at)) is not None:
            try:
                records += self._decoder.decode(payload)
            except msgspec.MsgspecError as error:
                raise ConfigurationError(
                    f"{self._path}: unknown record at byte {at} ({error}); use the version that wrote it"
                ) from error
            at += FRAME.size + len(payload)
        return records, at

    def _payload(self, content: bytes, at: int) -> bytes | None:
        """The payload of the frame at `at`, or None if there is no whole and good one."""
        if at + FRAME.size > len(content):
            return None
        length, checksum = FRAME.unpack_from(content, at)
        start = at + FRAME.size
        if not length or start + length > len(content):
            return None
        payload = content[start : start + length]
        return payload if self._checksum(payload) == checksum else None

    def _any_frame_after(self, content: bytes, bad: int, used: int) -> bool:
        """Is there a good frame beyond the bad one, where not all is zero? Then the bad one had been
        confirmed."""
        last = min(used, len(content) - FRAME.size)
        return any(self._payload(content, at) is not None for at in range(bad + 1, last))

    def _frame(self, records: Sequence[JournalRecord]) -> bytes:
        payload = self._encoder.encode(list(records))
        return FRAME.pack(len(payload), self._checksum(payload)) + payload

    def _checksum(self, payload: bytes) -> int:
        return zlib.crc32(payload, zlib.crc32(self._salt))

    def _open(self, size_bytes: int, *, cut: int) -> None:
        fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size_bytes, self._ready_bytes = fd, size_bytes, 0
        if cut:
            structlog.get_logger(__name__).warning("journal tail cut off", path=str(self._path), bytes=cut)
            self.cut_bytes = cut

    def _replace(self, records: Sequence[JournalRecord]) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        before, self._salt = self._salt, os.urandom(SALT_BYTES)
        batches = [records[at : at + COMPACT_RECORDS] for at in range(0, len(records), COMPACT_RECORDS)]
        content = b"".join((MAGIC, self._salt, *map(self._frame, batches)))
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                _write_at(fd, content, 0)
                os.fsync(fd)
            finally:
                os.close(fd)
            fresh.replace(self._path)
        except OSError as error:
            self._salt = before
            fresh.unlink(missing_ok=True)
            raise Unavailable(
                f"journal {self._path} cannot be rewritten ({error.strerror}); make room on its disk"
            ) from error
        try:
            _sync_directory(self._path.parent)
            self._open(len(content), cut=0)
        except OSError as error:
            self._broken = str(error)
            raise Fault(f"journal {self._path} broke ({error}); check its disk") from error

    def _undo(self, error: OSError) -> None:
        """Bring the file back to its last confirmed end, and raise."""
        self._ready_bytes = 0
        try:
            os.ftruncate(self._fd, self._size_bytes)
            os.fdatasync(self._fd)
        except OSError as worse:
            self._broken = str(worse)
        if error.errno not in FULL:
            # After a failed sync the kernel may have dropped the pages: nothing read back proves anything.
            self._broken = self._broken or str(error)
        if self._broken:
            raise Fault(f"journal {self._path} broke ({self._broken}); check its disk") from error
        raise Unavailable(f"the disk of journal {self._path} is full; make room on it") from error

    def _require_usable(self) -> None:
        if self._broken:
            raise Fault(f"journal {self._path} broke ({self._broken}); check its disk and restart")
        if self._fd < 0:
            raise Fault(f"journal {self._path} is not loaded, or closed")


def _write_at(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
