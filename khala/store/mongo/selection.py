"""A search as a MongoDB filter. Pure functions, any thread."""

from __future__ import annotations

from khala.core.commands import SearchTasks
from khala.core.task import TERMINAL, State
from khala.store.mongo.client import Document

EVER: Document = {"$gte": float("-inf")}
"""Any time: what has none is no task but a tombstone."""
UNFINISHED = [state.value for state in State if state not in TERMINAL]
LAST_CHARACTER = "\U0010ffff"


def filter_of(query: SearchTasks) -> Document:
    """The filter that finds what `query` asks for, its page token aside."""
    wanted: Document = {}
    if query.user is not None:
        wanted["spec.user"] = query.user
    if query.owner is not None:
        # With every state named, the index (owner, state, created_at) gives the order of time by merging.
        wanted |= {"owner": query.owner, "state": {"$in": [state.value for state in State]}}
    if query.states:
        wanted["state"] = {"$in": [state.value for state in query.states]}
    if query.name_prefix:
        wanted["spec.name"] = {"$gte": query.name_prefix, "$lt": query.name_prefix + LAST_CHARACTER}
    if query.executor:
        wanted["executor"] = query.executor
    if query.exit_reason:
        wanted["exit_reason"] = query.exit_reason
    if query.label:
        wanted["labels"] = query.label
    created = {}
    if query.created_after is not None:
        created["$gte"] = query.created_after
    if query.created_before is not None:
        created["$lt"] = query.created_before
    wanted["created_at"] = created or EVER
    return wanted


def beyond(wanted: Document, after: tuple[float, str], *, ascending: bool) -> Document:
    """`wanted`, restricted to what follows the key (created_at, id) in the given order."""
    created_at, task_id = after
    further = "$gt" if ascending else "$lt"
    same_time = {"created_at": created_at, "_id": {further: task_id}}
    key = {"$or": [{"created_at": {further: created_at}}, same_time]}
    return {"$and": [wanted, key]} if wanted else key
