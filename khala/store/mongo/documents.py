"""How a task lies in a document. Pure functions, any thread.

`_id`, the control fields and the fields that are searched lie at the top, so that one `$set` changes
them and indexes reach them; `spec` and `result` are nested, bytes stay bytes. `labels` is only there to be
searched: texts, absent when there are none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from pymongo import UpdateMany, UpdateOne

from khala.core.changes import Change
from khala.core.messages import QueuedTask
from khala.core.task import Result, Task, TaskControl, TaskEvent, TaskSpec, demand_of
from khala.store.mongo.client import Document
from khala.store.views import label_texts, texts_of

PURGED_AT, PURGED_STATE = "purged_at", "purged_state"
CONTROL_FIELDS = tuple(TaskControl.__dataclass_fields__)
_JOB = ("job_id", "job_index", "max_parallel")
_HEAD = ("owner", "created_at", "request_digest", "retried_from", *_JOB, *CONTROL_FIELDS)
_STREAMS = [f"result.{phase}.{stream}" for phase in ("compile", "execute") for stream in ("stdout", "stderr")]

PROJECTIONS: Mapping[str, Document | None] = {
    "minimal": dict.fromkeys(
        (*_HEAD, "spec.name", "spec.user", "spec.labels", "spec.priority", "result.verdict"), 1
    ),
    "basic": dict.fromkeys(
        (
            "spec.inputs.content",
            "spec.compile.stdin",
            "spec.execute.stdin",
            "spec.expected_output",
            *(f"{stream}.{part}" for stream in _STREAMS for part in ("head", "tail")),
        ),
        0,
    ),
    "full": None,
}
QUEUED: Document = dict.fromkeys(
    (
        *CONTROL_FIELDS,
        "created_at",
        "spec.priority",
        "spec.resources",
        "spec.constraints",
        "spec.max_attempts",
        "spec.on_disconnect",
        "spec.isolation",
        "spec.retry_on",
        "spec.backoff_s",
        "spec.queue_timeout_s",
        "spec.depends_on",
        "spec.ttl_after_finished_s",
        "owner",
        *_JOB,
    ),
    1,
)

HINTED: Document = {**(PROJECTIONS["minimal"] or {}), **QUEUED}


def document_of(task: Task) -> Document:
    """The document that stores `task`."""
    document = {
        "_id": task.id,
        "owner": task.owner,
        "created_at": task.created_at,
        "request_digest": task.request_digest,
        "retried_from": task.retried_from,
        "spec": _plain(task.spec),
        **_plain(task.control),
        "result": _plain(task.result),
        "events": _plain(task.events),
    }
    if task.job_id:
        document |= {name: getattr(task, name) for name in _JOB}
    if task.spec.labels:
        document["labels"] = label_texts(task)
    return document


def task_of(document: Document) -> Task:
    """The task in a document; what a projection left out has its default value."""
    return Task(
        id=document["_id"],
        spec=_typed(document["spec"], TaskSpec),
        owner=document["owner"],
        created_at=float(document["created_at"]),
        request_digest=document["request_digest"],
        retried_from=document["retried_from"],
        control=_typed(document, TaskControl),
        result=_typed(document.get("result"), Result | None),
        events=_typed(document.get("events", ()), tuple[TaskEvent, ...]),
        **_job_of(document),
    )


def _job_of(document: Document) -> Document:
    """Which job's task it is, if any's."""
    return {name: document[name] for name in _JOB if name in document}


def spec_of(document: Document) -> TaskSpec:
    """The specification in a document that has one."""
    return _typed(document["spec"], TaskSpec)  # type: ignore[no-any-return]


def queued_of(document: Document) -> QueuedTask:
    """What the leader keeps of the task in a document that was read with `QUEUED`."""
    spec, control = _typed(document["spec"], TaskSpec), _typed(document, TaskControl)
    task = Task(
        id=document["_id"],
        spec=spec,
        owner=document["owner"],
        created_at=float(document["created_at"]),
        control=control,
        **_job_of(document),
    )
    return QueuedTask(task_id=task.id, control=control, demand=demand_of(task))


def statements_of(changes: Sequence[Change]) -> list[UpdateOne | UpdateMany]:
    """The updates, in order, that apply `changes`, whose revs were found to fit.

    Changes that are equal but for their task travel and are worked out once: a pass of the leader gives
    hundreds of tasks to an executor in the same words.
    """
    distinct = len({change.task_id for change in changes}) == len(changes)
    alike: dict[tuple[TaskControl, TaskEvent], list[Change]] = {}
    alone: list[Change] = []
    for change in changes:
        if distinct and change.result is None:
            alike.setdefault((change.control, change.event), []).append(change)
        else:
            alone.append(change)
    return [
        *(
            UpdateMany({"_id": {"$in": [c.task_id for c in same]}}, update_of(same[0]))
            for same in alike.values()
        ),
        *(UpdateOne({"_id": change.task_id}, update_of(change)) for change in alone),
    ]


def update_of(change: Change) -> Document:
    """The update that applies `change`; what is set to the value it has costs no index any work."""
    fields = _plain(change.control)
    if change.result is not None:
        fields["result"] = _plain(change.result)
    return {"$set": fields, "$push": {"events": _plain(change.event)}}


def cancel_pipeline(at: float) -> list[Document]:
    """The update that requests a cancel."""
    return [{"$set": {"cancel_requested": True, **_told("cancel_requested", at, "")}}]


def amend_pipeline(
    at: float, detail: str, labels: Mapping[str, str] | None, priority: int | None
) -> list[Document]:
    """The update that changes labels and priority; None leaves them as they are."""
    fields = _told("amended", at, detail)
    if priority is not None:
        fields["spec.priority"] = {"$literal": priority}
    if labels is not None:
        fields["spec.labels"] = {"$literal": dict(labels)}
        fields["labels"] = {"$literal": texts_of(labels)} if labels else "$$REMOVE"
    # A computed field that holds an object is merged into the old one: take that away first.
    away: list[Document] = [] if labels is None else [{"$unset": "spec.labels"}]
    return [*away, {"$set": fields}]


def tombstone_pipeline(at: float) -> list[Document]:
    """The update that leaves what its request is known by (P7), and its end for those that wait for it."""
    return [
        {
            "$replaceWith": {
                "_id": "$_id",
                "owner": "$owner",
                "request_digest": "$request_digest",
                PURGED_AT: {"$literal": at},
                PURGED_STATE: "$state",
            }
        }
    ]


def _told(kind: str, at: float, detail: str) -> Document:
    """The fields of rev + 1 and its event, computed where the task lies (I4)."""
    next_rev = {"$add": ["$rev", 1]}
    event = {
        "rev": next_rev,
        "kind": kind,
        "at": {"$literal": at},
        "from_state": "$state",
        "to_state": "$state",
        "attempt": "$attempt",
        "epoch": {"generation": {"$literal": 0}, "number": {"$literal": 0}},
        "executor": "$executor",
        "detail": {"$literal": detail},
    }
    return {"rev": next_rev, "events": {"$concatArrays": ["$events", [event]]}}


def _plain(value: object) -> Any:
    return msgspec.to_builtins(value, builtin_types=(bytes,))


def _typed(value: object, kind: Any) -> Any:
    return msgspec.convert(value, kind, builtin_types=(bytes,))
