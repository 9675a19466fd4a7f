"""What `khala run` exits with and prints once its task is finished."""

from __future__ import annotations

from collections.abc import Iterator

from khala.cli.exits import Exit, note
from khala.cli.live import STREAMS, Write, write_through
from khala.client import Client, OutputPiece, OutputView, PhaseView, TaskView

_SIGNAL_BASE = 128
_OWN_END = frozenset({"exited", "signaled"})


def exit_code(task: TaskView) -> int:
    """The task's own exit code, 128 + signal, 124 for a time limit, 125 if Khala could not run it."""
    if task.exit_reason == "wall_time_limit":
        return Exit.TIME_LIMIT
    last = last_phase(task)
    if last is None or task.state == "cancelled":
        return Exit.NO_OUTCOME
    if last.signal is not None:
        return _SIGNAL_BASE + last.signal
    if last.exit_code is not None and task.exit_reason in _OWN_END:
        return last.exit_code
    return Exit.NO_OUTCOME


def last_phase(task: TaskView) -> PhaseView | None:
    """The phase that decided: execute, or compile if it came no further."""
    return task.execute or task.compile


def print_output(client: Client, task: TaskView, write: Write = write_through) -> None:
    """The output of both phases on the streams that it was written to."""
    for name, phase in (("compile", task.compile), ("execute", task.execute)):
        for stream in STREAMS if phase is not None else ():
            output: OutputView = getattr(phase, stream)
            place = (name, stream)
            whole = output.left_out and output.stored_bytes
            pieces = client.read_output(task.id, phase=name, stream=stream, attempt=task.attempt)
            for piece in pieces if whole else _inline(output):
                write(place, piece)
            missing = output.size - output.stored_bytes if whole else output.left_out
            if missing:
                note(f"khala: {missing} bytes of {stream} ({output.size} in all) are left out here")


def print_end(task: TaskView, *, quiet: bool = False) -> None:
    """What must be known of a task's end besides its output; `quiet`: only what went wrong."""
    if task.outputs and not quiet:
        note(f"khala: {len(task.outputs)} output files: khala get {task.id}")
    if task.exit_reason not in _OWN_END:
        note(f"khala: task {task.id} {task.state}: {task.reason or task.exit_reason.replace('_', ' ')}")


def _inline(output: OutputView) -> Iterator[OutputPiece]:
    yield OutputPiece(attempt=0, offset=0, data=output.head)
    yield OutputPiece(attempt=0, offset=output.size - len(output.tail), data=output.tail)
