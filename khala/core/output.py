"""Output on its way to the store, and what an outcome says of it. Pure (P6).

A stream is kept in the store by chunks without a gap, from its first byte on. What fits into the head
and tail of its capture travels in the outcome itself; only a longer one counts as *stored*, and an
outcome that has anything stored is told after it was delivered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from khala.core.task import Outcome, Phase, PhaseResult, Result, StreamCapture

STREAMS = ("stdout", "stderr")
PHASES = tuple(phase.value for phase in Phase)
CHUNK_BYTES = 512 * 1024
"""The most bytes of a chunk: with its key it is far below 1 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class StreamKey:
    """One output stream: of this attempt, in this phase, `stdout` or `stderr`."""

    task_id: str
    attempt: int
    phase: str
    stream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputChunk:
    """Some bytes of a stream, from `offset` on. Without bytes it only asks how far the stream is."""

    key: StreamKey
    offset: int
    data: bytes


def phases_of(result: Result | None) -> Iterator[tuple[Phase, PhaseResult]]:
    """The phases of which it tells, in their order."""
    if result is not None:
        for phase, part in ((Phase.COMPILE, result.compile), (Phase.EXECUTE, result.execute)):
            if part is not None:
                yield phase, part


def has_stored(outcome: Outcome) -> bool:
    """Must anything be delivered before this outcome is told?"""
    return has_files(outcome) or bool(stored_streams("", 0, outcome.result))


def has_files(outcome: Outcome) -> bool:
    """Does it have output files?"""
    return outcome.result is not None and bool(outcome.result.outputs)


def stored_streams(task_id: str, attempt: int, result: Result | None) -> dict[StreamKey, StreamCapture]:
    """The streams of which more is stored than head and tail."""
    found = {}
    for phase in PHASES:
        for stream in STREAMS:
            capture = capture_of(result, phase, stream)
            if capture is not None and capture.stored_bytes:
                found[StreamKey(task_id=task_id, attempt=attempt, phase=phase, stream=stream)] = capture
    return found


def capture_of(result: Result | None, phase: str, stream: str) -> StreamCapture | None:
    """What a result says of one stream; None if its phase did not run."""
    part: PhaseResult | None = getattr(result, phase) if result is not None else None
    if part is None:
        return None
    return part.stdout if stream == "stdout" else part.stderr


def cut_streams(outcome: Outcome, stored: Mapping[StreamKey, int]) -> Outcome:
    """The outcome with less stored than it said: so many bytes of these streams, whose digest nobody
    knows."""
    result = outcome.result
    for key, size in stored.items():
        capture = capture_of(result, key.phase, key.stream)
        if result is not None and capture is not None:
            kept = replace(capture, stored_bytes=size, sha256="", truncated=True)
            part = replace(getattr(result, key.phase), **{key.stream: kept})
            result = replace(result, **{key.phase: part})
    return replace(outcome, result=result)
