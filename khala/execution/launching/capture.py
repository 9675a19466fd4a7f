"""Bounded capture of one output stream: its first bytes, its last bytes, its true size.

Memory is bounded by twice the tail plus the head, whatever the stream's length.
"""

from __future__ import annotations


class Capture:
    """Keeps the whole stream up to `head_bytes + tail_bytes`, and beyond that its head and tail."""

    def __init__(self, head_bytes: int, tail_bytes: int) -> None:
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        self._kept = bytearray()
        self._head: bytes | None = None
        self.size = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self.size += len(data)
        if self._head is not None and len(data) >= self._tail_bytes:
            self._kept[:] = data
        else:
            self._kept += data
        if self._head is None and self.size > self._head_bytes + self._tail_bytes:
            self._head = bytes(self._kept[: self._head_bytes])
        if self._head is not None and len(self._kept) > 2 * self._tail_bytes:
            del self._kept[: len(self._kept) - self._tail_bytes]

    @property
    def truncated(self) -> bool:
        """Was anything cut?"""
        return self._head is not None

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
