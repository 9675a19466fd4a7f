"""`--tag`: lines of output that begin with what they belong to."""

from __future__ import annotations

from khala.cli.live import Place, write_through
from khala.client import OutputPiece


class Tagged:
    """Writes pieces of one task's output through, with `tag` and a tab before each line."""

    def __init__(self, tag: str) -> None:
        self._tag = tag.encode(errors="surrogateescape") + b"\t"
        self._inside: set[Place] = set()

    def __call__(self, place: Place, piece: OutputPiece) -> None:
        """The next piece of a place's output."""
        if not piece.data:
            return
        lines = [line + b"\n" for line in piece.data.split(b"\n")]
        last = lines.pop()[:-1]
        if last:
            lines.append(last)
        begin = b"" if place in self._inside else self._tag
        data = begin + self._tag.join(lines)
        if last:
            self._inside.add(place)
        else:
            self._inside.discard(place)
        write_through(place, OutputPiece(attempt=piece.attempt, offset=piece.offset, data=data))
