"""Bounded capture of one output stream: its first bytes, its last bytes, its true size.

Memory is bounded by twice the tail plus the head, whatever the stream's length, and what waits for its
spool (khala.execution.launching.spool).
"""

from __future__ import annotations

from .spool import StreamSpool


class Capture:
    """Keeps the whole stream up to `head_bytes + tail_bytes`, and beyond that its head and tail; a
    `spool` gets all of it."""

    def __init__(self, head_bytes: int, tail_bytes: int, spool: StreamSpool | None = None) -> None:
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        self._spool = spool
        self._kept = bytearray()
        self._head: bytes | None = None
        self.size = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self.size += len(data)
        if self._spool is not None:
            self._spool.feed(data)
        if self._head is not None and len(data) >= self._tail_bytes:
            self._kept[:] = data
        else:
            self._kept += data
        if self._head is None and self.size > self._head_bytes + self._tail_bytes:
            self._head = bytes(self._kept[: self._head_bytes])
        if self._head is not None and len(self._kept) > 2 * self._tail_bytes:
            del self._kept[: len(self._kept) - self._tail_bytes]

    def close(self) -> None:
        """The end of the stream. What head and tail have no room for is written to the spool."""
        if self._spool is not None:
            self._spool.close(wanted=self._head is not None)

    @property
    def stored_bytes(self) -> int:
        """How much of the stream, from its start, the spool has whole; 0 if head and tail have all of it."""
        return self._spool.written if self._spool is not None and self._head is not None else 0

    @property
    def sha256(self) -> str:
        """The digest of what the spool has; empty if that is nothing."""
        return self._spool.sha256 if self._spool is not None and self.stored_bytes else ""

    @property
    def truncated(self) -> bool:
        """Is anything lost, kept neither here nor in the spool?"""
        return self._head is not None and self.stored_bytes < self.size

    @property
    def head(self) -> bytes:
        """The first bytes; the whole stream when nothing was cut."""
        return bytes(self._kept) if self._head is None else self._head

    @property
    def tail(self) -> bytes:
        """The last bytes when something was cut, or else nothing."""
        if self._head is None or not self._tail_bytes:
            return b""
        return bytes(self._kept[-self._tail_bytes :])
