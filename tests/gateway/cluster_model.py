"""A small faithful model of a cluster behind the gateway: the in-memory store, the real transitions, and
the real wire format for every command and reply. The test plays leader and executor."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from khala.actors.output_parts import PartReader
from khala.bus.codec import Codec
from khala.core import commands as c
from khala.core import transfers as t
from khala.core.changes import Change
from khala.core.lifecycle import (
    Assigned,
    Cancelled,
    Ended,
    Lost,
    Occurrence,
    PhaseEntered,
    Retried,
    Started,
    transition,
)
from khala.core.operations import AmendTask, DrainExecutor, DrainOrdered, PurgeTask
from khala.core.output import OutputChunk, StreamKey
from khala.core.task import (
    TERMINAL,
    ExitReason,
    Outcome,
    Phase,
    PhaseResult,
    Result,
    StreamCapture,
    Task,
    TaskControl,
    TaskEvent,
)
from khala.core.validation import check_amendment, validate_spec
from khala.errors import Refusal, Unavailable
from khala.store.memory import MemoryStore

FRAME_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024


class ClusterModel:
    """What the judicators of a cluster answer. `tokens` empty means that it was started open.

    `trouble(command)` may return an exception to raise instead of an answer; `trouble_after` one to
    raise after the command took effect. `seen` lists the commands.
    """

    def __init__(self, *, tokens: frozenset[str] = frozenset()) -> None:
        self.store = MemoryStore()
        self.store.prepare()
        self.epoch = self.store.take_epoch("model")
        self.ready = True
        self.executors: tuple[c.ExecutorView, ...] = ()
        self.places: dict[str, c.QueuePlace] = {}
        self.judicators = (
            c.JudicatorView(name="j1", address="127.0.0.1:4000", leader=True, restarts={"etcd": 1}),
        )
        self.seen: list[Any] = []
        self.trouble: Callable[[Any], Exception | None] = lambda command: None
        self.trouble_after: Callable[[Any], Exception | None] = lambda command: None
        self._tokens = tokens
        self._codec = Codec(max_frame_bytes=FRAME_BYTES)
        self._uploads: dict[str, bytearray] = {}
        self._changed = threading.Condition()
        self._abandoned: list[Any] = []

    # --- what the gateway uses -------------------------------------------------------------------

    async def call(self, command: Any, *, timeout_s: float = 10.0) -> Any:
        command = self._over_the_wire(command)
        self.seen.append(command)
        if error := self.trouble(command):
            raise error
        if self._tokens and not isinstance(command, c.Ping):
            self._authorise(command.caller)
        handler = getattr(self, "handle_" + re.sub("(?<!^)([A-Z])", r"_\1", type(command).__name__).lower())
        try:
            reply = await asyncio.to_thread(handler, command)
        except asyncio.CancelledError:
            # The loop's end waits for its threads; this one waits for nobody.
            with self._changed:
                self._abandoned.append(command)
                self._changed.notify_all()
            raise
        if error := self.trouble_after(command):
            raise error
        return self._back_over_the_wire(command, reply)

    def close(self) -> None:
        """It holds nothing that needs closing."""

    # --- what the test does as leader and executor -----------------------------------------------

    def task(self, id: str) -> Task:
        (task,) = self.store.read([id])
        return task

    def start(self, id: str, phase: Phase = Phase.EXECUTE, executor: str = "executor-1") -> None:
        self._happen(id, Assigned(executor=executor, incarnation="i1"))
        self._happen(id, Started(at=time.time(), phase=phase))

    def assign(self, id: str, executor: str = "executor-1") -> None:
        self._happen(id, Assigned(executor=executor, incarnation="i1"))

    def enter(self, id: str, phase: Phase) -> None:
        self._happen(id, PhaseEntered(phase=phase))

    def lose(self, id: str) -> None:
        self._happen(id, Lost(possibly_started=True, detail="executor-1 was lost", max_attempts=5))

    def cancel(self, id: str) -> None:
        self._happen(id, Cancelled())

    def end(self, id: str, outcome: Outcome) -> None:
        self._happen(id, Ended(outcome=outcome, started_at=time.time()), result=outcome.result)

    def retry(self, id: str, outcome: Outcome, *, until: float) -> None:
        self._happen(id, Retried(outcome=outcome, not_before=until))

    def succeed(self, id: str, stdout: bytes = b"") -> None:
        self.start(id)
        self.end(id, succeeded(stdout))

    def write(self, id: str, data: bytes, *, phase: str = "execute", stream: str = "stdout") -> None:
        """More output of the attempt that runs now."""
        key = StreamKey(task_id=id, attempt=self.task(id).control.attempt, phase=phase, stream=stream)
        (at,) = self.store.output_sizes([key])
        self.store.put_output([OutputChunk(key=key, offset=at, data=data)])
        with self._changed:
            self._changed.notify_all()

    # --- commands --------------------------------------------------------------------------------

    def handle_ping(self, command: c.Ping) -> c.Pong:
        return c.Pong(
            judicator="j1",
            version="0",
            ready=self.ready,
            leader="j1",
            epoch=self.epoch,
            secured=bool(self._tokens),
        )

    def handle_submit_tasks(self, command: c.SubmitTasks) -> c.TasksAccepted:
        assert len(command.tasks) <= 1000
        return c.TasksAccepted(results=tuple(self._submit(new) for new in command.tasks))

    def _submit(self, new: c.NewTask) -> c.TaskAccepted:
        try:
            validate_spec(new.spec)
        except Refusal as why:
            return c.TaskAccepted(
                task_id=new.id,
                created=False,
                error_code=why.code,
                error_detail=why.detail,
                error_field=why.field,
            )
        at = round(time.time(), 6)
        task = Task(
            id=new.id,
            spec=new.spec,
            created_at=at,
            request_digest=new.request_digest,
            retried_from=new.retried_from,
            control=TaskControl(queued_at=at),
            events=(
                TaskEvent(
                    rev=1,
                    kind="submitted",
                    at=at,
                    from_state=TaskControl().state,
                    to_state=TaskControl().state,
                ),
            ),
        )
        (answer,) = self.store.insert([task])
        if answer.answer == "conflict":
            return c.TaskAccepted(
                task_id=new.id, created=False, error_code="conflict", error_detail="used for another"
            )
        return c.TaskAccepted(task_id=new.id, created=answer.answer == "created")

    def handle_cancel_tasks(self, command: c.CancelTasks) -> c.TaskCancels:
        found = {task.id: task for task in self.store.request_cancel(command.task_ids, time.time())}
        return c.TaskCancels(results=tuple(_cancel(id, found.get(id)) for id in command.task_ids))

    def handle_amend_task(self, command: AmendTask) -> c.TaskViews:
        check_amendment(command.labels, command.priority)
        told = "labels" if command.labels is not None else f"priority {command.priority}"
        task = self.store.amend(
            command.task_id, time.time(), told, labels=command.labels, priority=command.priority
        )
        return c.TaskViews(tasks=() if task is None else (task,))

    def handle_purge_task(self, command: PurgeTask) -> c.TaskViews:
        task = self.store.purge(command.task_id, time.time())
        return c.TaskViews(tasks=() if task is None else (task,))

    def handle_drain_executor(self, command: DrainExecutor) -> DrainOrdered:
        return DrainOrdered(executor=command.executor, draining=command.draining)

    def handle_get_tasks(self, command: c.GetTasks) -> c.TaskViews:
        deadline = time.monotonic() + command.wait_s
        with self._changed:
            while command.wait_s and not self._all_finished(command.task_ids):
                if not self._wait(command, deadline):
                    break
        return c.TaskViews(tasks=tuple(self.store.read(command.task_ids, command.view)))

    def handle_search_tasks(self, command: c.SearchTasks) -> c.TaskPage:
        return self.store.search(command)

    def handle_count_tasks(self, command: c.CountTasks) -> c.TaskCounts:
        return c.TaskCounts(counts=self.store.counts())

    def handle_list_executors(self, command: c.ListExecutors) -> c.ExecutorViews:
        place = self.places.get(command.place_of) or c.QueuePlace(task_id=command.place_of)
        return c.ExecutorViews(executors=self.executors, place=place if command.place_of else None)

    def handle_list_judicators(self, command: c.ListJudicators) -> c.JudicatorViews:
        return c.JudicatorViews(judicators=self.judicators, epoch=self.epoch)

    def handle_put_file_chunk(self, command: t.PutFileChunk) -> t.FileStored:
        assert len(command.data) <= CHUNK_BYTES
        if command.offset == 0 and self.store.has_file(command.sha256):
            return t.FileStored(sha256=command.sha256, complete=True)
        spool = self._uploads.setdefault(command.upload_id, bytearray())
        if len(spool) != command.offset:
            raise Refusal("start the upload again", code="conflict", field="offset")
        spool += command.data
        if len(spool) < command.size:
            return t.FileStored(sha256=command.sha256)
        self.store.put_file(command.sha256, command.size, iter([bytes(self._uploads.pop(command.upload_id))]))
        return t.FileStored(sha256=command.sha256, complete=True)

    def handle_get_file_chunk(self, command: t.GetFileChunk) -> t.FileChunk:
        size, data = self.store.read_file(command.sha256, command.offset, min(command.length, CHUNK_BYTES))
        return t.FileChunk(sha256=command.sha256, size=size, offset=command.offset, data=data)

    def handle_get_output(self, command: t.GetOutput) -> t.OutputPart:
        deadline = time.monotonic() + command.wait_s
        with self._changed:
            while True:
                part = PartReader(self.store, [command]).read(command)
                if part.complete or command.offset < part.size:
                    return part
                if not command.wait_s or not self._wait(command, deadline):
                    return part

    # --- the rest --------------------------------------------------------------------------------

    def _wait(self, command: Any, deadline: float) -> bool:
        """Wait for a change; False when it is too late for one, or nobody waits for the answer any more."""
        if any(each is command for each in self._abandoned):
            return False
        return self._changed.wait(deadline - time.monotonic())

    def _all_finished(self, ids: tuple[str, ...]) -> bool:
        return all(task.control.state in TERMINAL for task in self.store.read(ids, "minimal"))

    def _authorise(self, caller: c.Caller) -> None:
        if not caller.token:
            raise Refusal("a token is needed", code="unauthorized")
        if caller.token not in self._tokens:
            raise Refusal("this token is not known", code="unauthorized")
        if caller.token.startswith("reader"):
            raise Refusal("this token may not do this", code="forbidden")

    def _happen(self, id: str, occurrence: Occurrence, result: Result | None = None) -> None:
        task = self.task(id)
        control, event = transition(task.control, occurrence, at=time.time(), epoch=self.epoch)
        change = Change(
            task_id=id, expected_rev=task.control.rev, control=control, event=event, result=result
        )
        (changed,) = self.store.commit(self.epoch, [change])
        assert changed.applied
        with self._changed:
            self._changed.notify_all()

    def _over_the_wire(self, command: Any) -> Any:
        method = self._codec.method_of[type(command)]
        data = self._codec.encode_argument(method, command)
        if len(data) > FRAME_BYTES - 1024:
            raise Refusal(f"{len(data)} bytes are too many for one call", code="too_large")
        return self._codec.decode_argument(method, data, 0)

    def _back_over_the_wire(self, command: Any, reply: Any) -> Any:
        method = self._codec.method_of[type(command)]
        data = self._codec.encode_result(method, reply)
        if len(data) > FRAME_BYTES - 1024:
            raise Refusal("the answer does not fit: ask for less", code="too_large")
        return self._codec.decode_result(method, data, 0)


def _cancel(id: str, task: Task | None) -> c.TaskCancel:
    if task is None:
        return c.TaskCancel(task_id=id, answer="not_found")
    finished = task.control.state in TERMINAL
    return c.TaskCancel(task_id=id, answer="finished" if finished else "requested", state=task.control.state)


def stream(content: bytes) -> StreamCapture:
    return StreamCapture(size=len(content), head=content)


def phase_result(
    *,
    stdout: bytes = b"",
    stderr: bytes = b"",
    reason: ExitReason = ExitReason.EXITED,
    exit_code: int | None = 0,
) -> PhaseResult:
    return PhaseResult(
        exit_reason=reason,
        exit_code=exit_code,
        started_at=time.time(),
        wall_time_s=0.5,
        stdout=stream(stdout),
        stderr=stream(stderr),
    )


def succeeded(stdout: bytes = b"", *, compile: PhaseResult | None = None) -> Outcome:
    return Outcome(
        exit_reason=ExitReason.EXITED,
        succeeded=True,
        phase=Phase.EXECUTE,
        result=Result(compile=compile, execute=phase_result(stdout=stdout)),
        finished_at=time.time(),
    )


def failed(phase: Phase, result: Result | None, reason: ExitReason = ExitReason.EXITED) -> Outcome:
    return Outcome(exit_reason=reason, phase=phase, result=result, finished_at=time.time())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fail_times(error: Exception, times: int, kind: type) -> Callable[[Any], Exception | None]:
    """Raise `error` for the first `times` commands of `kind`."""
    left: Iterator[int] = iter(range(times))

    def trouble(command: Any) -> Exception | None:
        return error if isinstance(command, kind) and next(left, None) is not None else None

    return trouble


def always(error: Exception) -> Callable[[Any], Exception]:
    """Raise `error` for every command."""
    return lambda command: error


NOBODY_LEADS = Unavailable("nobody leads now", retry_after_s=2.0)
