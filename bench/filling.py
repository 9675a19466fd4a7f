"""Fills a cluster's store with tasks as they would be after a month of use, past the front door.

The cluster runs meanwhile; a tenth of the tasks wait for an executor that does not exist.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from khala.core.jobs import Job
from khala.core.sweeps import task_id_of
from khala.core.task import (
    Command,
    Epoch,
    ExitReason,
    Phase,
    PhaseResult,
    Result,
    State,
    StreamCapture,
    Task,
    TaskControl,
    TaskEvent,
    TaskSpec,
)
from khala.store.mongo.client import MongoSettings
from khala.store.mongo.store import MongoStore
from khala.store.views import token_of

BATCH = 2_000
DAY_S = 86_400.0
JOB_TASKS = 100_000
ENDS = (
    (State.SUCCEEDED, ExitReason.EXITED, 65),
    (State.FAILED, ExitReason.EXITED, 15),
    (State.FAILED, ExitReason.WALL_TIME_LIMIT, 5),
    (State.CANCELLED, ExitReason.CANCELLED, 5),
    (State.PENDING, None, 10),
)


@dataclass(frozen=True, slots=True)
class Filling:
    """What is there: a job of 100,000 (or a tenth), and the page token of the middle."""

    job_id: str
    middle: str


def fill(folder: Path, count: int) -> Filling:
    """Store `count` tasks, spread over the last 20 days, in the cluster that `khala up` runs in `folder`."""
    port = json.loads((folder / "cluster.json").read_text())["ports"]["judicator-1.mongodb"]
    settings = MongoSettings(
        hosts=(f"127.0.0.1:{port}",), secret=(folder / "secret").read_text().strip(), timeout_s=60.0
    )
    store = MongoStore(settings)
    try:
        began = time.time() - 20 * DAY_S
        job = Job(
            id=f"{'ab' * 9}000000",
            template=TaskSpec(execute=Command(shell="true")),
            rows_file="0" * 64,
            total=min(JOB_TASKS, count // 10),
            owner="admin",
            created_at=began + 5 * DAY_S,
            created=min(JOB_TASKS, count // 10),
        )
        store.insert_job(job)
        batch: list[Task] = []
        for task in _tasks(count, job, began):
            batch.append(task)
            if len(batch) == BATCH:
                store.insert(batch)
                batch = []
        store.insert(batch)
        store.finish_job(job.id, began + 6 * DAY_S)
        return Filling(job_id=job.id, middle=token_of((began + 10 * DAY_S, "")))
    finally:
        store.close()


def _tasks(count: int, job: Job, began: float) -> Iterator[Task]:
    draw = random.Random(7)
    for number in range(count - job.total):
        yield _task(draw, number, f"{draw.getrandbits(96):024x}", began + number * 20 * DAY_S / count)
    for place in range(job.total):
        made = _task(draw, place, task_id_of(job.id, place), job.created_at)
        yield replace(made, job_id=job.id, job_index=place, control=_finished(made.control))


def _task(draw: random.Random, number: int, id: str, created_at: float) -> Task:
    ((state, reason, _),) = draw.choices(ENDS, weights=[weight for *_, weight in ENDS])
    pending = state == State.PENDING
    rare = number % 200_000 == 100_000
    control = TaskControl(
        rev=1 if pending else 4,
        state=state,
        attempt=0 if pending else 1,
        starts=0 if pending else 1,
        executor="" if pending else f"executor-{draw.randrange(8)}",
        phase=None if pending else Phase.EXECUTE,
        exit_reason=ExitReason.CRASH_LIMIT if rare and not pending else reason,
        queued_at=created_at,
        started_at=None if pending else created_at + 1.0,
        finished_at=None if pending else created_at + 3.0,
    )
    spec = TaskSpec(
        name="rare-one" if rare else f"sim-{number % 1000}",
        user=777 if rare else draw.randrange(3),
        labels={"team": draw.choice(("blue", "red"))} | ({"rare": "yes"} if rare else {}),
        execute=Command(shell=f"./simulate --seed {number}"),
        constraints={"place": "nowhere"},
    )
    events = [_event(rev, created_at) for rev in range(1, control.rev + 1)]
    return Task(
        id=id,
        spec=spec,
        owner="admin",
        created_at=created_at,
        control=control,
        result=None if pending else _RESULT,
        events=tuple(events),
    )


def _finished(control: TaskControl) -> TaskControl:
    """A job's task: none of this one waits."""
    if control.state != State.PENDING:
        return control
    end = control.queued_at + 3.0
    return replace(control, rev=4, state=State.SUCCEEDED, exit_reason=ExitReason.EXITED, finished_at=end)


def _event(rev: int, at: float) -> TaskEvent:
    return TaskEvent(
        rev=rev,
        kind="assigned",
        at=at + rev,
        from_state=State.PENDING,
        to_state=State.ASSIGNED,
        attempt=1,
        epoch=Epoch(1, 1),
        executor="executor-1",
    )


_STREAM = StreamCapture(size=400, head=b"step 1 of 10: energy -1.2345\n" * 14)
_RESULT = Result(
    execute=PhaseResult(exit_reason=ExitReason.EXITED, exit_code=0, wall_time_s=2.0, stdout=_STREAM),
    enforced=("uid", "cgroup"),
)
