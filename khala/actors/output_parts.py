"""Reads parts of attempts' outputs: from the store, or from the result that has all of it.

In the thread of whoever owns the store; blocks in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from khala.core.output import CHUNK_BYTES, StreamKey, capture_of
from khala.core.task import ACTIVE, TERMINAL, StreamCapture, Task, TaskControl
from khala.core.transfers import GetOutput, OutputPart
from khala.errors import Refusal
from khala.store.interface import Store


class PartReader:
    """Answers a batch of questions; what several of them need is read once.

    All tasks are read before any output: when one says that its attempt is over, all of its output was
    stored before. Of what was read, the last part only is kept, so ask what is alike in a row.
    """

    def __init__(self, store: Store, gets: Sequence[GetOutput]) -> None:
        self._store = store
        self._tasks = self._read_tasks([get.task_id for get in gets], "basic")
        self._sizes: dict[StreamKey, int] = {}
        self._whole: dict[str, Task] = {}
        self._last: tuple[StreamKey, int, int] | None = None
        self._data = b""

    def read(self, get: GetOutput) -> OutputPart:
        """The answer as things stood when the batch began; Refusal `not_found` for no such task or
        attempt."""
        task = _the(get, self._tasks)
        control = task.control
        attempt = get.attempt or control.attempt
        if attempt > control.attempt and control.state in TERMINAL:
            raise Refusal(f"task {task.id} has no attempt {attempt}", code="not_found", field="attempt")
        capture = None
        if attempt == control.attempt and control.state in TERMINAL:
            capture = capture_of(task.result, get.phase, get.stream)
        size, data = self._read(get, attempt, capture)
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

    def _read(self, get: GetOutput, attempt: int, capture: StreamCapture | None) -> tuple[int, bytes]:
        """How much of the stream there is, and the part. `capture`: what the outcome says of it."""
        length = min(get.length, CHUNK_BYTES)
        if capture is not None and not capture.stored_bytes:
            head = self._head(get) if capture.size else b""
            return len(head), head[get.offset : get.offset + length]
        key = StreamKey(task_id=get.task_id, attempt=attempt, phase=get.phase, stream=get.stream)
        size = capture.stored_bytes if capture is not None else self._size(key)
        left = min(length, size - get.offset)
        return size, self._part(key, get.offset, left) if left > 0 else b""

    def _head(self, get: GetOutput) -> bytes:
        """All of a short output, which its result keeps."""
        if get.task_id not in self._whole:
            self._whole.update(self._read_tasks([get.task_id], "full"))
        whole = capture_of(_the(get, self._whole).result, get.phase, get.stream)
        return whole.head if whole is not None else b""

    def _size(self, key: StreamKey) -> int:
        if key not in self._sizes:
            self._sizes[key] = self._store.output_sizes([key])[0]
        return self._sizes[key]

    def _part(self, key: StreamKey, offset: int, length: int) -> bytes:
        wanted = (key, offset, length)
        if wanted != self._last:
            self._data, self._last = self._store.read_output(key, offset, length), wanted
        return self._data

    def _read_tasks(self, task_ids: Sequence[str], view: str) -> dict[str, Task]:
        return {task.id: task for task in self._store.read(tuple(dict.fromkeys(task_ids)), view=view)}


def is_over(control: TaskControl, attempt: int) -> bool:
    """Will this attempt write nothing more? Attempt 0 is that of a task that was never assigned."""
    if control.state in TERMINAL or attempt < control.attempt:
        return True
    return 0 < attempt == control.attempt and control.state not in ACTIVE


def _the(get: GetOutput, found: dict[str, Task]) -> Task:
    task = found.get(get.task_id)
    if task is None or get.owner not in (None, task.owner):
        raise Refusal(f"there is no task {get.task_id}", code="not_found", field="id")
    return task
