"""A task's output on the streams that it was written to, while it is written, attempt after attempt.

One thread for each stream that is followed, for each has a connection of its own; the caller's thread
waits for them, and Ctrl-C reaches it.
"""

from __future__ import annotations

import base64
import os
import sys
import threading
from collections.abc import Callable, Sequence

from khala.cli.exits import note
from khala.cli.output import print_json_line
from khala.client import Client, OutputEnd, OutputPiece

PHASES = ("compile", "execute")
STREAMS = ("stdout", "stderr")

Place = tuple[str, str]
"""Phase and stream."""
Write = Callable[[Place, OutputPiece], None]
"""Show a piece of a place's output."""


class LiveOutput:
    """Follows `places` of one task. `write` is called by one thread at a time."""

    def __init__(self, client: Client, task_id: str, places: Sequence[Place], write: Write) -> None:
        self._client = client
        self._task_id = task_id
        self._places = places
        self._write = write
        self._lock = threading.Lock()
        self._ends: dict[Place, OutputEnd] = {}
        self._failure: BaseException | None = None

    def show(self, attempt: int, *, others_too: bool = True) -> None:
        """Until the attempt is over; with `others_too`, also those that follow it when it is lost.

        Raises what went wrong in following any of the places.
        """
        while attempt:
            ends = self._show_attempt(attempt)
            for (_, stream), end in ends.items():
                if end.written > end.size:
                    left_out = end.written - end.size
                    note(f"khala: {left_out} bytes of {stream} ({end.written} in all) were not kept")
            following = max((end.next_attempt for end in ends.values()), default=0)
            if following and any(end.size for end in ends.values()):
                note(f"khala: attempt {attempt} was lost; the task is run again from its beginning")
            attempt = following if others_too else 0

    def _show_attempt(self, attempt: int) -> dict[Place, OutputEnd]:
        self._ends = {}
        threads = [
            threading.Thread(target=self._follow, args=(place, attempt), daemon=True)
            for place in self._places
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        return self._ends

    def _follow(self, place: Place, attempt: int) -> None:
        phase, stream = place
        try:
            for said in self._client.follow(self._task_id, phase=phase, stream=stream, attempt=attempt):
                with self._lock:
                    if isinstance(said, OutputPiece):
                        self._write(place, said)
                    else:
                        self._ends[place] = said
        except Exception as failure:  # noqa: BLE001 - it is the waiting thread's to raise
            with self._lock:
                self._failure = self._failure or failure


def write_through(place: Place, piece: OutputPiece) -> None:
    """As it was written: to our own standard output or standard error."""
    write_all(sys.stdout.fileno() if place[1] == "stdout" else sys.stderr.fileno(), piece.data)


def write_json(place: Place, piece: OutputPiece) -> None:
    """One JSON document a line; what is no text is in base64."""
    shown: dict[str, object] = {"phase": place[0], "stream": place[1]}
    shown |= {"attempt": piece.attempt, "offset": piece.offset}
    try:
        shown["text"] = piece.data.decode()
    except UnicodeDecodeError:
        shown["base64"] = base64.b64encode(piece.data).decode()
    print_json_line(shown)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it, however many calls it takes."""
    while content:
        content = content[os.write(descriptor, content) :]
