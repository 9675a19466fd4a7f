"""Tasks, changes and readers that the store's tests share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from khala.core.changes import Change
from khala.core.checking import Checker, Difference
from khala.core.task import (
    Archive,
    Command,
    Epoch,
    ExitReason,
    InputFile,
    Isolation,
    Limits,
    OutputFile,
    OutputGlob,
    Phase,
    PhaseResult,
    Resources,
    Result,
    State,
    StreamCapture,
    Task,
    TaskEvent,
    TaskSpec,
    Verdict,
)


def task_id(number: int) -> str:
    return f"{number:024x}"


def task(number: int, *, created_at: float | None = None, digest: str = "", **spec: Any) -> Task:
    spec.setdefault("execute", Command(shell="true"))
    at = float(number) if created_at is None else created_at
    return Task(id=task_id(number), spec=TaskSpec(**spec), owner="me", created_at=at, request_digest=digest)


def rich_task(number: int) -> Task:
    """A task in which every field has a value of its own."""
    command = Command(
        argv=("a", "b"), env={"A.b": "$c", "$x": ""}, stdin=b"\x00\xff", limits=Limits(wall_time_s=2.5)
    )
    return task(
        number,
        digest="d" * 64,
        name="näme",
        user=7,
        labels={"team.x": "blue", "$odd": "a=b", "": "empty"},
        priority=-3,
        inputs=(
            InputFile(path="in", content=b"\x00content", mode=0o600),
            InputFile(path="f", file_id="0" * 64),
        ),
        archives=(Archive(file_id="1" * 64, path="data"),),
        compile=command,
        resources=Resources(cpus=0.5, memory_bytes=1 << 40),
        constraints={"gpu.kind": "x"},
        expected_output=b"42",
        outputs=(OutputGlob(glob="*.txt", needed=True),),
        checker=Checker.FLOAT,
        checker_tolerance=0.5,
        isolation=Isolation.STRICT,
        max_attempts=2,
    )


def result(text: bytes = b"out") -> Result:
    stream = StreamCapture(size=9, head=text, tail=b"tail", truncated=True)
    phase = PhaseResult(exit_reason=ExitReason.EXITED, exit_code=0, wall_time_s=1.5, stdout=stream)
    difference = Difference(line=1, column=2, expected="42", actual="4\ufffd")
    return Result(
        execute=phase,
        enforced=("uid",),
        outputs=(OutputFile(path="ü/out", size=3, sha256="2" * 64, mode=0o755),),
        verdict=Verdict.WRONG_ANSWER,
        difference=difference,
    )


def change(
    before: Task, state: State, *, epoch: Epoch = Epoch(), want: bool = False, **control: Any
) -> Change:
    """A change of `before` to `state`, as the leader of `epoch` makes it."""
    outcome = control.pop("result", None)
    after = replace(before.control, rev=before.control.rev + 1, state=state, **control)
    event = TaskEvent(
        rev=after.rev,
        kind="changed",
        at=5.0,
        from_state=before.control.state,
        to_state=state,
        attempt=after.attempt,
        epoch=epoch,
        executor=after.executor,
    )
    return Change(
        task_id=before.id,
        expected_rev=before.control.rev,
        control=after,
        event=event,
        result=outcome,
        want_spec=want,
    )


def assign(before: Task, epoch: Epoch, *, want: bool = False, executor: str = "e1") -> Change:
    return change(
        before, State.ASSIGNED, epoch=epoch, want=want, attempt=before.control.attempt + 1, executor=executor
    )


def finish(before: Task, epoch: Epoch, *, text: bytes = b"out") -> Change:
    return change(
        before,
        State.SUCCEEDED,
        epoch=epoch,
        phase=Phase.EXECUTE,
        exit_reason=ExitReason.EXITED,
        finished_at=9.0,
        result=result(text),
    )


def one(store: Any, number: int, view: str = "full") -> Task:
    (found,) = store.read([task_id(number)], view)
    return found


def commit_one(store: Any, epoch: Epoch, what: Change) -> Task:
    """Commit a change that must apply, and read the task."""
    (answer,) = store.commit(epoch, [what])
    assert answer.applied, answer
    return store.read([what.task_id])[0]


def assert_story_whole(found: Task) -> None:
    """The revs of a task's events are without a gap and end at its rev (I4)."""
    assert [event.rev for event in found.events] == list(range(2, found.control.rev + 1))
