"""`POST /api/v1/tasks/batch`: up to 10,000 tasks in one request, each judged on its own.

Runs on the event loop and lets others run between portions of decoding. A batch that was only half
stored is completed by the same request with the same Idempotency-Key.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from msgspec import Raw
from sanic.response import HTTPResponse

from khala.core.commands import NewTask
from khala.core.task import TaskSpec
from khala.errors import OutcomeUnknown, Refusal, Unavailable
from khala.gateway.exchange import Call, json_response
from khala.gateway.problems import error_fields
from khala.gateway.queries import Query
from khala.gateway.routes import Route
from khala.gateway.schemas import BatchBody, TaskBody, decode
from khala.gateway.specs import spec_of
from khala.gateway.submitting import TaskIds, ids_for, limiter, portions, submit, submit_one
from khala.gateway.uploads import move_large

MAX_BATCH_TASKS = 10_000
DECODED_AT_A_TIME = 100

Answer = dict[str, object]


def batch_routes() -> tuple[Route, ...]:
    """The one route of batches."""
    return (
        Route(
            method="POST",
            path="/api/v1/tasks/batch",
            handler=create_batch,
            summary="Create up to 10,000 tasks; answers in order",
            body=BatchBody,
        ),
    )


async def create_batch(call: Call) -> HTTPResponse:
    """200 with one `{"id"}` or `{"error"}` for each task; 503 when nothing at all could be stored."""
    Query(call.request, ())
    ids = ids_for(call)
    batch = decode(await call.json_body(), BatchBody)
    if len(batch.tasks) > MAX_BATCH_TASKS:
        raise Refusal(f"tasks: at most {MAX_BATCH_TASKS} in one batch", code="too_large", field="tasks")
    answers: list[Answer] = [{} for _ in batch.tasks]
    tasks = await _decode(call, batch.tasks, ids, answers)
    if ids.key and tasks:
        await _claim(call, tasks[0], answers)
        tasks = tasks[1:]
    await _submit(call, tasks, answers)
    return json_response({"results": answers})


async def _decode(
    call: Call, bodies: Sequence[Raw], ids: TaskIds, answers: list[Answer]
) -> list[tuple[int, NewTask]]:
    """The good tasks with their places; the errors of the others go into `answers`.

    With a key, ids go by the order of the good tasks and all of them carry the whole batch's digest, so
    that the first one stands for the batch: whatever else is sent under the key meets it.
    """
    good: list[tuple[int, TaskSpec]] = []
    last, spec = Raw(), TaskSpec()
    whole = hashlib.sha256()
    for index, raw in enumerate(bodies):
        if index % DECODED_AT_A_TIME == 0:
            await asyncio.sleep(0)
        whole.update(hashlib.sha256(raw).digest())
        try:
            if not good or raw != last:
                spec = await move_large(call, spec_of(decode(raw, TaskBody)))
        except Refusal as error:
            _raise_if_for_all(error)
            answers[index] = {"error": error_fields(error)}
            continue
        last = raw
        good.append((index, spec))
    digest = whole.hexdigest()
    return [
        (index, NewTask(id=ids.of(place), spec=spec, request_digest=digest))
        for place, (index, spec) in enumerate(good)
    ]


async def _claim(call: Call, first: tuple[int, NewTask], answers: list[Answer]) -> None:
    """Store the first task alone; Refusal `conflict` when the key was used for something else."""
    index, task = first
    try:
        await submit_one(call, task)
    except Refusal as error:
        if error.code == "conflict":
            raise Refusal(
                "this Idempotency-Key was used for another request", code="conflict", field="Idempotency-Key"
            ) from error
        _raise_if_for_all(error)
        answers[index] = {"error": error_fields(error)}
    else:
        answers[index] = {"id": task.id}


async def _submit(call: Call, tasks: Sequence[tuple[int, NewTask]], answers: list[Answer]) -> None:
    places = {task.id: index for index, task in tasks}
    turn = limiter()

    async def send(part: Sequence[NewTask]) -> Refusal | Unavailable | None:
        try:
            async with turn:
                results = await submit(call, part)
        except (Refusal, Unavailable) as error:
            for task in part:
                answers[places[task.id]] = {"error": _fields(error, task)}
            return error
        for task, result in zip(part, results, strict=True):
            refusal = Refusal(result.error_detail, code=result.error_code, field=result.error_field)
            good = not result.error_code
            answers[places[task.id]] = {"id": task.id} if good else {"error": error_fields(refusal)}
        return None

    async with asyncio.TaskGroup() as group:
        sends = [group.create_task(send(part)) for part in portions([task for _, task in tasks])]
    errors = [error for sent in sends if (error := sent.result()) is not None]
    for error in errors:
        _raise_if_for_all(error)
    if errors and len(errors) == len(sends) and isinstance(errors[0], Unavailable):
        raise errors[0]


def _fields(error: Refusal | Unavailable, task: NewTask) -> Answer:
    fields = error_fields(error)
    # It may be stored all the same: whoever sent no key can still look it up.
    return fields | {"task_id": task.id} if isinstance(error, OutcomeUnknown) else fields


def _raise_if_for_all(error: Refusal | Unavailable) -> None:
    """A wrong token is not one task's fault."""
    if isinstance(error, Refusal) and error.code in ("unauthorized", "forbidden"):
        raise error
