"""What `khala run` exits with and prints once its task is finished."""

from __future__ import annotations

import os
import sys

from khala.cli.exits import Exit, note
from khala.client import OutputView, PhaseView, TaskView

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


def print_output(task: TaskView) -> None:
    """The output of both phases on the streams that it was written to, and what else must be known."""
    for phase in (task.compile, task.execute):
        if phase is not None:
            _write(phase.stdout, sys.stdout.fileno(), "stdout")
            _write(phase.stderr, sys.stderr.fileno(), "stderr")
    if task.exit_reason not in _OWN_END:
        note(f"khala: task {task.id} {task.state}: {task.reason or task.exit_reason.replace('_', ' ')}")


def _write(output: OutputView, descriptor: int, name: str) -> None:
    _write_all(descriptor, output.head)
    if output.left_out:
        sys.stderr.flush()
        note(f"khala: {output.left_out} bytes of {name} ({output.size} in all) are left out here")
    _write_all(descriptor, output.tail)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
