"""Commands that move bytes, files and output: a part of the RPC service `Judicator`."""

from __future__ import annotations

from dataclasses import dataclass

from khala.core.commands import Caller
from khala.core.task import Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class PutFileChunk:
    """A part of a file, at most 1 MiB, sent in order; the last one completes and verifies it.

    `upload_id` is chosen by the sender and names one upload.
    """

    upload_id: str
    sha256: str
    size: int
    offset: int
    data: bytes
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStored:
    """The answer to PutFileChunk. `complete` once the whole file is on a majority's disk."""

    sha256: str
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GetFileChunk:
    """Read at most `length` bytes (1 MiB) of a stored file from `offset`."""

    sha256: str
    offset: int
    length: int
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChunk:
    """A part of a stored file and the file's whole size."""

    sha256: str
    size: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOutput:
    """Bytes of an attempt's output stream, at most 512 KiB, from `offset` on; only executors may.

    Without bytes it asks how far the stream is stored. Sending a chunk again is harmless. `epoch` is the
    assignment's: output of another generation is refused, for its attempt's number may be used anew (P4).
    """

    task_id: str
    attempt: int
    phase: str
    stream: str
    offset: int
    data: bytes
    caller: Caller = Caller()
    epoch: Epoch = Epoch()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStored:
    """The answer to PutOutput: all bytes before `next_offset` are on a majority's disk."""

    next_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOutput:
    """Read at most `length` bytes (512 KiB) of an output stream from `offset`; `attempt` 0 is the newest.

    With `wait_s`, answer when there is more than `offset`, or the attempt is over, or the time is up. With
    `owner`, tasks of others do not exist.
    """

    task_id: str
    attempt: int
    phase: str
    stream: str
    offset: int
    length: int
    wait_s: float = 0.0
    caller: Caller = Caller()
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPart:
    """A part of an attempt's output stream.

    `size` is how much of it can be read so far; `complete` says that there will be no more. `written`
    is how much the task wrote in all: more than `size` when the rest was not kept, and 0 while that is
    not known. `state` is the task's, `newest` its newest attempt.
    """

    attempt: int
    offset: int
    data: bytes
    size: int
    complete: bool = False
    written: int = 0
    state: str = ""
    newest: int = 0
