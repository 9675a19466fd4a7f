"""What the HTTP API answers, as frozen values. Pure; unknown fields stay readable in `raw`."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

# As khala.core.task has them; its import would cost every command 20 ms. A test compares the two.
STATES = ("pending", "assigned", "running", "succeeded", "failed", "cancelled")
FINISHED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputView:
    """What is kept of one output stream: its head and its tail, and the first `stored_bytes` bytes on the
    cluster; when `truncated`, more was written than is kept anywhere."""

    size: int = 0
    truncated: bool = False
    head: bytes = b""
    tail: bytes = b""
    stored_bytes: int = 0

    @property
    def left_out(self) -> int:
        """How many bytes between head and tail are not here."""
        return self.size - len(self.head) - len(self.tail)

    @property
    def text(self) -> str:
        """Head and tail as text; bytes that are not UTF-8 are replaced."""
        return (self.head + self.tail).decode(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPiece:
    """The next bytes of an attempt's output stream, from `offset` on."""

    attempt: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputEnd:
    """There is no more: `size` bytes can be read of the `written` ones. `state` is the task's; when the
    attempt was lost, `next_attempt` is the one that takes its place, and 0 otherwise."""

    attempt: int
    state: str
    size: int = 0
    written: int = 0
    next_attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseView:
    """How one phase went; durations in seconds, sizes in bytes."""

    exit_reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    wall_time_s: float = 0.0
    cpu_user_s: float = 0.0
    cpu_system_s: float = 0.0
    max_rss_bytes: int = 0
    stdout: OutputView = OutputView()
    stderr: OutputView = OutputView()


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceView:
    """Where an output first was not what was expected: line and column (in bytes) from 1, and excerpts."""

    line: int = 0
    column: int = 0
    expected: str = ""
    actual: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFileView:
    """An output file of a task: its path in the workspace, and its content by size and digest."""

    path: str
    size: int = 0
    sha256: str = ""
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskView:
    """A task as the gateway shows it; `raw` is the whole answer."""

    id: str
    state: str
    name: str = ""
    phase: str = ""
    reason: str = ""
    exit_reason: str = ""
    executor: str = ""
    attempt: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    verdict: str = ""
    difference: DifferenceView | None = None
    outputs: tuple[OutputFileView, ...] = ()
    compile: PhaseView | None = None
    execute: PhaseView | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def finished(self) -> bool:
        """Will this task never change again?"""
        return self.state in FINISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPageView:
    """One page of tasks; an empty `next_page_token` means that it is the last."""

    tasks: tuple[TaskView, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as the gateway shows it: `created` of its `total` tasks are there, `counts` is by their state;
    `raw` is the whole answer."""

    id: str
    state: str
    name: str = ""
    reason: str = ""
    total: int = 0
    created: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    created_at: datetime | None = None
    finished_at: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def finished(self) -> bool:
        """Will no task of it change any more?"""
        return self.state in FINISHED

    @property
    def done(self) -> int:
        """How many of its tasks are finished."""
        return sum(count for state, count in self.counts.items() if state in FINISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPageView:
    """One page of jobs; an empty `next_page_token` means that it is the last."""

    jobs: tuple[JobView, ...]
    next_page_token: str = ""


def job_view(answer: Mapping[str, Any]) -> JobView:
    """A job from the gateway's JSON."""
    return JobView(
        id=answer["id"],
        state=answer["state"],
        name=answer.get("name") or "",
        reason=answer.get("reason") or "",
        total=answer.get("total") or 0,
        created=answer.get("created") or 0,
        counts=answer.get("counts") or {},
        names=tuple(answer.get("names") or ()),
        created_at=_time(answer.get("created_at")),
        finished_at=_time(answer.get("finished_at")),
        raw=answer,
    )


def task_view(answer: Mapping[str, Any]) -> TaskView:
    """A task from the gateway's JSON; absent and null fields take their defaults."""
    result = answer.get("result") or {}
    return TaskView(
        id=answer["id"],
        state=answer["state"],
        name=answer.get("name") or "",
        phase=answer.get("phase") or "",
        reason=answer.get("reason") or "",
        exit_reason=answer.get("exit_reason") or "",
        executor=answer.get("executor") or "",
        attempt=answer.get("attempt") or 0,
        created_at=_time(answer.get("created_at")),
        started_at=_time(answer.get("started_at")),
        finished_at=_time(answer.get("finished_at")),
        verdict=answer.get("verdict") or "",
        difference=_difference(answer.get("difference")),
        outputs=tuple(output_file_view(each) for each in answer.get("outputs") or ()),
        compile=_phase(result.get("compile")),
        execute=_phase(result.get("execute")),
        raw=answer,
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def output_file_view(answer: Mapping[str, Any]) -> OutputFileView:
    """An output file from the gateway's JSON."""
    return OutputFileView(
        path=answer["path"],
        size=answer.get("size") or 0,
        sha256=answer.get("sha256") or "",
        executable=bool(int(answer.get("mode") or "0", 8) & 0o111),
    )


def _difference(answer: Mapping[str, Any] | None) -> DifferenceView | None:
    if not answer:
        return None
    return DifferenceView(
        line=answer.get("line") or 0,
        column=answer.get("column") or 0,
        expected=answer.get("expected") or "",
        actual=answer.get("actual") or "",
    )


def _phase(answer: Mapping[str, Any] | None) -> PhaseView | None:
    if not answer:
        return None
    return PhaseView(
        exit_reason=answer.get("exit_reason") or "",
        exit_code=answer.get("exit_code"),
        signal=answer.get("signal"),
        wall_time_s=answer.get("wall_time") or 0.0,
        cpu_user_s=answer.get("cpu_user") or 0.0,
        cpu_system_s=answer.get("cpu_system") or 0.0,
        max_rss_bytes=answer.get("max_rss") or 0,
        stdout=_output(answer.get("stdout")),
        stderr=_output(answer.get("stderr")),
    )


def _output(answer: Mapping[str, Any] | None) -> OutputView:
    if not answer:
        return OutputView()
    return OutputView(
        size=answer.get("size") or 0,
        truncated=bool(answer.get("truncated")),
        head=_bytes(answer, "head"),
        tail=_bytes(answer, "tail"),
        stored_bytes=answer.get("stored") or 0,
    )


def _bytes(answer: Mapping[str, Any], part: str) -> bytes:
    """The text of `part` as bytes; where it was no text, its base64 twin has the truth."""
    exact = answer.get(f"{part}_base64")
    return base64.b64decode(exact) if exact else (answer.get(part) or "").encode()
