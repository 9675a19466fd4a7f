"""A search as a MongoDB filter, and which part of it an index answers. Pure functions, any thread."""

from __future__ import annotations

from khala.core.commands import SearchTasks
from khala.core.task import ACTIVE, TERMINAL, State
from khala.store.mongo.client import Document
from khala.store.mongo.schema import CREATED_INDEX, OWNER_INDEX, QUEUE_INDEX, USER_INDEX

EVER: Document = {"$gte": float("-inf")}
"""Any time: what has none is no task but a tombstone."""
EVERY_STATE = [state.value for state in State]
FINISHED = sorted(state.value for state in TERMINAL)
UNFINISHED = [state.value for state in State if state not in TERMINAL]
LAST_CHARACTER = "\U0010ffff"


def filter_of(query: SearchTasks) -> Document:
    """The filter that finds what `query` asks for, its page token aside."""
    wanted: Document = {}
    if query.user is not None:
        wanted["spec.user"] = query.user
    if query.owner is not None:
        # With every state named, the index (owner, state, created_at) gives the order of time by merging.
        wanted |= {"owner": query.owner, "state": {"$in": EVERY_STATE}}
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


def index_of(query: SearchTasks) -> tuple[str, frozenset[str]]:
    """The index that gives a search its order of time, and the fields of the filter that it answers."""
    if query.job_id:
        return (QUEUE_INDEX, frozenset({"state"})) if query.states else (CREATED_INDEX, frozenset())
    if query.owner is not None:
        return OWNER_INDEX, frozenset({"owner", "state"})
    if query.states and (query.user is None or ACTIVE.issuperset(query.states)):
        return QUEUE_INDEX, frozenset({"state"})
    if query.user is not None:
        return USER_INDEX, frozenset({"spec.user"})
    return CREATED_INDEX, frozenset()


Key = tuple[float, str]
"""The (created_at, id) of a task or a job: their order."""


def between(wanted: Document, after: Key | None, last: Key | None, *, ascending: bool) -> Document:
    """`wanted`, restricted to what follows the one key up to the other one, which is in it.

    Tasks that are equally old may be many, a whole job's; so each branch is a range of an index by itself.
    """
    further, nearer = ("$gt", "$lt") if ascending else ("$lt", "$gt")
    times: Document = {}
    branches: list[Document] = []
    if after is not None and last is not None and after[0] == last[0]:
        branches = [{"created_at": last[0], "_id": {further: after[1], f"{nearer}e": last[1]}}]
    else:
        if after is not None:
            times[further] = after[0]
            branches.append({"created_at": after[0], "_id": {further: after[1]}})
        if last is not None:
            times[nearer] = last[0]
            branches.append({"created_at": last[0], "_id": {f"{nearer}e": last[1]}})
        if times:
            branches.append({"created_at": times})
    return {"$or": [{"$and": [wanted, branch]} for branch in branches]} if branches else wanted
