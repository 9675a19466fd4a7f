"""Tasks and members as KV2 showed them (api.md, section 2). Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from khala.core.commands import ExecutorView, JudicatorView
from khala.core.task import (
    TERMINAL,
    Archive,
    Command,
    ExitReason,
    InputFile,
    Phase,
    PhaseResult,
    State,
    StreamCapture,
    Task,
    TaskSpec,
)

Json = dict[str, Any]

DATA_FOLDER = "data"
MAX_TEXT_CHARS = 1000
OUTPUT_NAMES = ("compile_output", "compile_error", "execute_output", "execute_error")
PENDING, COMPILING, COMPILE_FAILED, RUNNING, RUN_FAILED, SUCCESS, RETRYING, CANCELLED, UNKNOWN = range(9)

_UNKNOWN_REASONS = frozenset(
    {
        ExitReason.EXECUTOR_LOST,
        ExitReason.CRASH_LIMIT,
        ExitReason.SETUP_FAILED,
        ExitReason.DEPENDENCY_FAILED,
        ExitReason.QUEUE_TIMEOUT,
        ExitReason.INTERNAL_ERROR,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What KV2 called compile source or execute data: a stored zip, or files to be zipped."""

    archives: tuple[Archive, ...]
    files: tuple[tuple[str, InputFile], ...]

    def __bool__(self) -> bool:
        return bool(self.archives or self.files)


def time_view(unix_s: float) -> str:
    """A naive ISO time in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def status_of(task: Task) -> int:
    """KV2's status number."""
    control = task.control
    match control.state:
        case State.PENDING | State.ASSIGNED:
            return RETRYING if control.starts > 0 else PENDING
        case State.RUNNING:
            return COMPILING if control.phase == Phase.COMPILE else RUNNING
        case State.SUCCEEDED:
            return SUCCESS
        case State.CANCELLED:
            return CANCELLED
    if control.exit_reason in _UNKNOWN_REASONS:
        return UNKNOWN
    return COMPILE_FAILED if control.phase == Phase.COMPILE else RUN_FAILED


def brief_view(task: Task) -> Json:
    """A task in a list. `report_time` is the time of its last change."""
    control = task.control
    busy = control.state in (State.ASSIGNED, State.RUNNING)
    changes = (task.created_at, control.queued_at, control.started_at or 0.0, control.finished_at or 0.0)
    return {
        "id": task.id,
        "user": task.spec.user,
        "add_time": time_view(task.created_at),
        "done": control.state in TERMINAL,
        "status": status_of(task),
        "executor": (control.executor or None) if busy else None,
        "report_time": time_view(max(changes)),
    }


def full_view(task: Task, stdin: str, outputs: Mapping[str, bytes], *, cut: bool) -> Json:
    """A task with its commands and results; `stdin` is its input, `outputs` are those that there are of
    its result, and `cut` shortens long texts."""
    spec = task.spec
    show = shortened if cut else str
    execute = spec.execute or Command()
    standard = show((spec.expected_output or b"").decode(errors="replace"))
    return {
        **brief_view(task),
        "compile": {
            "source": bool(compile_source(spec)),
            "command": show(command_text(spec.compile)),
            "timeout": _timeout(spec.compile or Command()),
        },
        "execute": {
            "input": show(stdin),
            "data": bool(execute_data(spec)),
            "command": show(command_text(spec.execute)),
            "timeout": _timeout(execute),
            "standard": standard,
            "execute_command": show(command_text(spec.execute)),
            "execute_timeout": _timeout(execute),
            "execute_standard": standard,
        },
        "result": None
        if task.result is None
        else {name: show(outputs.get(name, b"").decode(errors="replace")) for name in OUTPUT_NAMES},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultText:
    """One of the four outputs: its `head`, or instead of that the `stored` first bytes of this phase's
    stream, and then `rest`."""

    phase: str
    stream: str
    head: bytes
    stored: int
    rest: bytes


def result_texts(task: Task) -> dict[str, ResultText]:
    """The outputs of the phases that ran; one that ran out of time says so after what it wrote itself."""
    texts = {}
    for phase, words in ((Phase.COMPILE, b"Compile time out."), (Phase.EXECUTE, b"Execution time out.")):
        ran: PhaseResult | None = getattr(task.result, phase) if task.result is not None else None
        if ran is not None:
            late = words if ran.exit_reason == ExitReason.WALL_TIME_LIMIT else b""
            texts[f"{phase}_output"] = _text(phase, "stdout", ran.stdout, b"")
            texts[f"{phase}_error"] = _text(phase, "stderr", ran.stderr, late)
    return texts


def shortened(text: str) -> str:
    """At most 1,000 characters of `text`, and `...` when there were more."""
    return text if len(text) <= MAX_TEXT_CHARS else text[:MAX_TEXT_CHARS] + "..."


def command_text(command: Command | None) -> str:
    """The command as shell text; "" when the task has no such phase."""
    if command is None:
        return ""
    return command.shell or shlex.join(command.argv)


def compile_source(spec: TaskSpec) -> Bundle:
    """What lies at the top of the workspace."""
    return Bundle(
        archives=tuple(entry for entry in spec.archives if not _is_data(entry.path)),
        files=tuple((entry.path, entry) for entry in spec.inputs if not _is_data(entry.path)),
    )


def execute_data(spec: TaskSpec) -> Bundle:
    """What lies under `data/`."""
    return Bundle(
        archives=tuple(entry for entry in spec.archives if _is_data(entry.path)),
        files=tuple(
            (entry.path.removeprefix(f"{DATA_FOLDER}/"), entry)
            for entry in spec.inputs
            if _is_data(entry.path)
        ),
    )


def executor_view(executor: ExecutorView) -> Json:
    """One executor."""
    return {
        "id": executor.executor,
        "hostname": executor.hostname or executor.executor,
        "report_time": time_view(executor.reported_at),
    }


def judicator_view(judicator: JudicatorView) -> Json:
    """One judicator, named by the path under which KV2 found it in etcd."""
    return {"name": f"/judicator/service/{judicator.name}", "address": judicator.address}


def _is_data(path: str) -> bool:
    return path == DATA_FOLDER or path.startswith(f"{DATA_FOLDER}/")


def _timeout(command: Command) -> int | float:
    seconds = command.limits.wall_time_s or 0
    return int(seconds) if seconds == int(seconds) else seconds


def _text(phase: Phase, stream: str, capture: StreamCapture, late: bytes) -> ResultText:
    missing = capture.size - (capture.stored_bytes or len(capture.head))
    tail = capture.tail[-missing:] if missing else b""
    gap = missing - len(tail)
    rest = (f"\n... {gap} bytes left out ...\n".encode() if gap else b"") + tail
    last = (rest or capture.tail or capture.head)[-1:]
    if late:
        rest += (b"\n" if last not in (b"", b"\n") else b"") + late
    return ResultText(phase=phase, stream=stream, head=capture.head, stored=capture.stored_bytes, rest=rest)
