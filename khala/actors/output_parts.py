"""Reads a part of an attempt's output: from the store, or from the result that has all of it.

In the thread of whoever owns the store; blocks in it.
"""

from __future__ import annotations

from khala.core.output import CHUNK_BYTES, StreamKey, capture_of
from khala.core.task import ACTIVE, TERMINAL, StreamCapture, Task, TaskControl
from khala.core.transfers import GetOutput, OutputPart
from khala.errors import Refusal
from khala.store.interface import Store


def read_part(store: Store, get: GetOutput) -> OutputPart:
    """The answer as things stand now; Refusal `not_found` for no such task or attempt."""
    # The task first: when it says that the attempt is over, all of its output was stored before.
    task = _task(store, get, "basic")
    control = task.control
    attempt = get.attempt or control.attempt
    if attempt > control.attempt and control.state in TERMINAL:
        raise Refusal(f"task {task.id} has no attempt {attempt}", code="not_found", field="attempt")
    capture = None
    if attempt == control.attempt and control.state in TERMINAL:
        capture = capture_of(task.result, get.phase, get.stream)
    size, data = _read(store, get, attempt, capture)
    return OutputPart(
        attempt=attempt,
        offset=get.offset,
        data=data,
        size=size,
        complete=is_over(control, attempt),
        written=capture.size if capture is not None else 0,
        state=control.state,
        newest=control.attempt,
    )


def is_over(control: TaskControl, attempt: int) -> bool:
    """Will this attempt write nothing more? Attempt 0 is that of a task that was never assigned."""
    if control.state in TERMINAL or attempt < control.attempt:
        return True
    return 0 < attempt == control.attempt and control.state not in ACTIVE


def _read(store: Store, get: GetOutput, attempt: int, capture: StreamCapture | None) -> tuple[int, bytes]:
    """How much of the stream there is, and the part. `capture`: what the outcome says of it."""
    length = min(get.length, CHUNK_BYTES)
    if capture is not None and not capture.stored_bytes:
        head = b""
        if capture.size:
            whole = capture_of(_task(store, get, "full").result, get.phase, get.stream)
            head = whole.head if whole is not None else b""
        return len(head), head[get.offset : get.offset + length]
    key = StreamKey(task_id=get.task_id, attempt=attempt, phase=get.phase, stream=get.stream)
    size = capture.stored_bytes if capture is not None else store.output_sizes([key])[0]
    left = min(length, size - get.offset)
    return size, store.read_output(key, get.offset, left) if left > 0 else b""


def _task(store: Store, get: GetOutput, view: str) -> Task:
    found = store.read([get.task_id], view=view)
    if not found or get.owner not in (None, found[0].owner):
        raise Refusal(f"there is no task {get.task_id}", code="not_found", field="id")
    return found[0]
