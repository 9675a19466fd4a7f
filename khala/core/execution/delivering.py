"""The bookkeeping of a delivery: which piece of which spooled stream goes to the store next. Pure.

A stream's pieces go out in order, some ahead of the answers; an answer says from where the store wants
more, and that is where the stream goes on. A piece of a running attempt that is not full goes when no
other is on its way (Nagle's rule, RFC 896): the busier the store, the fewer and larger the pieces. What
cannot be sent now is sent later, without end. Times are CLOCK_BOOTTIME, in seconds; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from khala.core.output import CHUNK_BYTES, StreamKey

AHEAD = 4
"""How many pieces of a stream are sent before the first is answered."""
IN_FLIGHT_MOST = 16
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

Attempt = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """Send these bytes. With `length` 0 it only asks how far the stream is stored."""

    key: StreamKey
    offset: int
    length: int


@dataclass(slots=True)
class _Stream:
    """`spooled` bytes can be read; those before `stored` are on a majority, those before `sent` are on
    their way. `ended`: `spooled` grows no more. `asked` False: how far an earlier life came must be asked
    first. `over`: no more will be delivered than `stored`."""

    spooled: int = 0
    stored: int = 0
    sent: int = 0
    in_flight: int = 0
    ended: bool = False
    asked: bool = True
    again: bool = False
    over: bool = False
    failures: int = 0
    not_before: float = float("-inf")

    @property
    def done(self) -> bool:
        return not self.in_flight and (self.over or (self.asked and self.stored >= self.spooled))


class Deliveries:
    """All streams of an executor that are not dropped yet."""

    def __init__(self, *, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._chunk_bytes = chunk_bytes
        self._streams: dict[StreamKey, _Stream] = {}
        self._ended: dict[Attempt, tuple[StreamKey, ...]] = {}
        self._in_flight = 0

    # --- what there is to deliver ----------------------------------------------------------------

    def spooled(self, key: StreamKey, size: int) -> None:
        """So much of a running attempt's stream can be read now."""
        if size and (key.task_id, key.attempt) not in self._ended:
            stream = self._streams.setdefault(key, _Stream())
            stream.spooled = max(stream.spooled, size)

    def finish(self, task_id: str, attempt: int, sizes: Mapping[StreamKey, int]) -> None:
        """An attempt is over: these streams must be stored, each up to its size, and no others."""
        for key in [key for key in self._of(task_id, attempt) if key not in sizes]:
            del self._streams[key]
        for key, size in sizes.items():
            stream = self._streams.setdefault(key, _Stream(asked=False))
            stream.spooled, stream.ended, stream.not_before = size, True, float("-inf")
        self._ended[(task_id, attempt)] = tuple(sizes)

    def shrink(self, key: StreamKey, size: int) -> None:
        """The spool of this stream has no more than that."""
        stream = self._streams.get(key)
        if stream is not None:
            stream.spooled = min(stream.spooled, size)

    def drop(self, task_id: str, attempt: int) -> None:
        """Nothing of this attempt is delivered any more."""
        self._ended.pop((task_id, attempt), None)
        for key in self._of(task_id, attempt):
            del self._streams[key]

    # --- what to do, and what came of it ---------------------------------------------------------

    def next_pieces(self, now: float) -> Iterator[Piece]:
        """What to send now; each must be answered by `stored`, `failed` or `refused`."""
        for key, stream in list(self._streams.items()):
            while self._in_flight < IN_FLIGHT_MOST and (piece := self._next_of(key, stream, now)):
                stream.in_flight += 1
                self._in_flight += 1
                stream.sent = max(stream.sent, piece.offset + piece.length)
                yield piece

    def stored(self, piece: Piece, next_offset: int, now: float) -> None:
        """The store has all before `next_offset`."""
        stream = self._landed(piece)
        if stream is None:
            return
        came_on = next_offset > stream.stored or not stream.asked
        stream.stored, stream.asked = max(stream.stored, next_offset), True
        stream.sent = max(stream.sent, stream.stored)
        if came_on:
            stream.failures = 0
        if next_offset < piece.offset + piece.length:
            stream.again = True
            if not came_on:
                self._pause(stream, now)
        self._rewind(stream)

    def failed(self, piece: Piece, now: float) -> None:
        """Nobody knows whether it is stored: again, after a while."""
        stream = self._landed(piece)
        if stream is not None:
            stream.again = True
            self._pause(stream, now)
            self._rewind(stream)

    def refused(self, piece: Piece) -> None:
        """The store will never take it."""
        stream = self._landed(piece)
        if stream is not None:
            stream.over = True

    def take_delivered(self) -> list[tuple[Attempt, dict[StreamKey, int]]]:
        """The ended attempts of which everything is stored, each told once, with how much that is."""
        found = []
        for attempt, keys in list(self._ended.items()):
            streams = {key: self._streams[key] for key in keys}
            if all(stream.done for stream in streams.values()):
                del self._ended[attempt]
                found.append((attempt, {key: stream.stored for key, stream in streams.items()}))
        return found

    # --- within ----------------------------------------------------------------------------------

    def _next_of(self, key: StreamKey, stream: _Stream, now: float) -> Piece | None:
        if stream.over or stream.again or now < stream.not_before or stream.in_flight >= AHEAD:
            return None
        if not stream.asked:
            return None if stream.in_flight else Piece(key, 0, 0)
        length = min(self._chunk_bytes, stream.spooled - stream.sent)
        may_grow = length < self._chunk_bytes and not stream.ended
        if length <= 0 or (may_grow and stream.in_flight):
            return None
        return Piece(key, stream.sent, length)

    def _landed(self, piece: Piece) -> _Stream | None:
        self._in_flight -= 1
        stream = self._streams.get(piece.key)
        if stream is not None:
            stream.in_flight -= 1
        return stream

    @staticmethod
    def _pause(stream: _Stream, now: float) -> None:
        stream.not_before = now + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(stream.failures, 10))
        stream.failures += 1

    @staticmethod
    def _rewind(stream: _Stream) -> None:
        """Once nothing is on its way, go on from what is stored."""
        if stream.again and not stream.in_flight:
            stream.again, stream.sent = False, stream.stored

    def _of(self, task_id: str, attempt: int) -> list[StreamKey]:
        return [key for key in self._streams if (key.task_id, key.attempt) == (task_id, attempt)]
