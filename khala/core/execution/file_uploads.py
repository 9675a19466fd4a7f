"""The bookkeeping of output files on their way to the store: which part goes next. Pure.

Of an ended attempt one file goes after the other, part by part, each after the answer to the one before;
a file that the store has already is complete at its first part. What went wrong begins again with its
file, later, without end. Times are CLOCK_BOOTTIME, in seconds; sizes are bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from khala.core.task import ExitReason, Outcome, OutputFile

CHUNK_BYTES = 1 << 20
ATTEMPTS_AT_ONCE = 4
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

Attempt = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """Send `length` bytes from `offset` of this file; they are at `spooled_at` of its attempt's spool."""

    attempt: Attempt
    upload_id: str
    file: OutputFile
    offset: int
    length: int
    spooled_at: int


@dataclass(slots=True)
class _Upload:
    """An attempt's files. The first of `waiting` is being sent, as `upload_id`, and begins at `start` of
    the spool."""

    waiting: deque[OutputFile]
    start: int = 0
    upload_id: str = ""
    sent: int = 0
    in_flight: FilePart | None = None
    failures: int = 0
    not_before: float = float("-inf")
    lost: list[OutputFile] = field(default_factory=list)


class FileUploads:
    """All output files of an executor that are not stored yet. `new_id` makes names of uploads."""

    def __init__(self, *, new_id: Callable[[], str], chunk_bytes: int = CHUNK_BYTES) -> None:
        self._new_id = new_id
        self._chunk_bytes = chunk_bytes
        self._uploads: dict[Attempt, _Upload] = {}

    def begin(self, attempt: Attempt, files: Sequence[OutputFile]) -> None:
        """These files, which lie in the attempt's spool one after the other, must be stored."""
        self._uploads[attempt] = _Upload(deque(files))

    def drop(self, attempt: Attempt) -> None:
        """Nothing of this attempt is sent any more."""
        self._uploads.pop(attempt, None)

    def next_parts(self, now: float) -> Iterator[FilePart]:
        """What to send now; each must be answered by `stored`, `failed` or `lost`."""
        busy = sum(upload.in_flight is not None for upload in self._uploads.values())
        for attempt, upload in list(self._uploads.items()):
            if busy >= ATTEMPTS_AT_ONCE:
                return
            if upload.in_flight is None and upload.waiting and now >= upload.not_before:
                upload.in_flight = self._next_part(attempt, upload)
                busy += 1
                yield upload.in_flight

    def stored(self, part: FilePart, *, complete: bool) -> None:
        """A judicator has taken the part; with `complete` the whole file is on a majority's disk."""
        upload = self._landed(part)
        if upload is None:
            return
        upload.failures = 0
        upload.sent = part.offset + part.length
        if complete:
            self._go_on(upload)
        elif upload.sent >= part.file.size:
            self._again(upload)

    def failed(self, part: FilePart, now: float) -> None:
        """Nobody knows what became of it: the whole file again, after a while."""
        upload = self._landed(part)
        if upload is not None:
            pause_s = FIRST_PAUSE_S * 2.0 ** min(upload.failures, 10)
            upload.not_before = now + min(LONGEST_PAUSE_S, pause_s)
            upload.failures += 1
            self._again(upload)

    def lost(self, part: FilePart) -> None:
        """The file cannot be stored: its spool has not what it had."""
        upload = self._landed(part)
        if upload is not None:
            upload.lost.append(part.file)
            self._go_on(upload)

    def take_delivered(self) -> list[tuple[Attempt, tuple[OutputFile, ...]]]:
        """The attempts of which no file waits any more, each told once, with the files that are lost."""
        done = [attempt for attempt, upload in self._uploads.items() if not upload.waiting]
        return [(attempt, tuple(self._uploads.pop(attempt).lost)) for attempt in done]

    def _next_part(self, attempt: Attempt, upload: _Upload) -> FilePart:
        upload.upload_id = upload.upload_id or self._new_id()
        file = upload.waiting[0]
        return FilePart(
            attempt=attempt,
            upload_id=upload.upload_id,
            file=file,
            offset=upload.sent,
            length=min(self._chunk_bytes, file.size - upload.sent),
            spooled_at=upload.start + upload.sent,
        )

    def _landed(self, part: FilePart) -> _Upload | None:
        """The upload that waits for this part; None for one that was dropped, or begun anew."""
        upload = self._uploads.get(part.attempt)
        if upload is None or upload.in_flight is not part:
            return None
        upload.in_flight = None
        return upload

    @staticmethod
    def _go_on(upload: _Upload) -> None:
        upload.start += upload.waiting.popleft().size
        upload.upload_id, upload.sent = "", 0

    @staticmethod
    def _again(upload: _Upload) -> None:
        upload.upload_id, upload.sent = "", 0


def without_lost(outcome: Outcome, lost: Sequence[OutputFile]) -> Outcome:
    """The outcome without files that it promised and nobody has any more: then it is no success."""
    result = outcome.result
    if not lost or result is None:
        return outcome
    gone = {file.path for file in lost}
    return replace(
        outcome,
        succeeded=False,
        exit_reason=ExitReason.INTERNAL_ERROR if outcome.succeeded else outcome.exit_reason,
        reason=f"{len(lost)} output files were lost with their spool, the first: {lost[0].path!r}",
        result=replace(result, outputs=tuple(file for file in result.outputs if file.path not in gone)),
    )
