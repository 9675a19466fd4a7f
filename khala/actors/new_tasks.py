"""What the front door makes of a client's new task: a pending one with the first line of its story;
and what of it is refused. Only `with_known_dependencies` reads the store."""

from __future__ import annotations

import re
from collections.abc import Mapping

from khala.actors.messages import InsertTasks
from khala.core.access import reach_of
from khala.core.commands import NewTask, TaskAccepted
from khala.core.dependencies import broken
from khala.core.task import State, Task, TaskControl, TaskEvent, TaskSpec
from khala.core.validation import inline_bytes, validate_spec
from khala.errors import Refusal
from khala.store.interface import TaskStore

TASK_ID = re.compile(r"[0-9a-f]{24}")
MAX_DIGEST_CHARS = 256
TASK_BYTES = 1_024
"""About what a task takes besides its contents."""


def new_task(new: NewTask, owner: str, at: float) -> Task:
    """A task submitted by `owner` (digest of the token) at `at` (Unix seconds); raises Refusal."""
    if not TASK_ID.fullmatch(new.id):
        raise Refusal("a task's id is 24 hexadecimal digits", field="id")
    if new.retried_from and not TASK_ID.fullmatch(new.retried_from):
        raise Refusal("retried_from is a task's id: 24 hexadecimal digits", field="retried_from")
    if len(new.request_digest) > MAX_DIGEST_CHARS:
        raise Refusal(f"request_digest has at most {MAX_DIGEST_CHARS} characters", field="request_digest")
    validate_spec(new.spec)
    event = TaskEvent(rev=1, kind="submitted", at=at, from_state=State.PENDING, to_state=State.PENDING)
    return Task(
        id=new.id,
        spec=new.spec,
        owner=owner,
        created_at=at,
        request_digest=new.request_digest,
        retried_from=new.retried_from,
        control=TaskControl(queued_at=at),
        events=(event,),
    )


def refusal_of(new: NewTask | Task, why: Refusal) -> TaskAccepted:
    """The answer to a task that is not taken."""
    return TaskAccepted(
        task_id=new.id, created=False, error_code=why.code, error_detail=why.detail, error_field=why.field
    )


def without(insert: InsertTasks, refused: Mapping[str, Refusal]) -> InsertTasks:
    """`insert` with refusals in the places of the tasks with these ids."""
    total = len(insert.tasks) + len(insert.refused)
    places = (place for place in range(total) if place not in insert.refused)
    answers = dict(insert.refused)
    for place, task in zip(places, insert.tasks, strict=True):
        why = refused.get(task.id)
        if why is not None:
            answers[place] = refusal_of(task, why)
    tasks = tuple(task for task in insert.tasks if task.id not in refused)
    return InsertTasks(insert.who, tasks, answers, insert.size_bytes, insert.envelope)


def with_known_dependencies(insert: InsertTasks, store: TaskStore, at: float) -> InsertTasks:
    """`insert` without the tasks that wait in a circle, or for one that the caller does not reach.

    A purged one that is waited for counts as purged `at` (Unix seconds). Raises Unavailable."""
    wanted = {task.id: {each.task_id for each in task.spec.depends_on} for task in insert.tasks}
    others = {other for each in wanted.values() for other in each}
    if not others:
        return insert
    known = store.standings(sorted(others), reach_of(insert.who), needed_at=at)
    problems = broken(wanted, known)
    return without(insert, {id: Refusal(why, field="depends_on") for id, why in problems.items()})


def bytes_of(spec: TaskSpec) -> int:
    """About how much memory a specification takes, in bytes."""
    size = TASK_BYTES + inline_bytes(spec)
    for command in (spec.compile, spec.execute):
        if command is not None:
            size += len(command.shell) + sum(len(argument) for argument in command.argv)
            size += sum(len(name) + len(value) for name, value in command.env.items())
    return size
