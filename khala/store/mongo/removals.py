"""The list of what is to be removed, and when: `{_id: "task/ID", what: "task", at}`. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pymongo import UpdateOne

from khala.store.mongo.client import Document

TASK, JOB = "task", "job"


def due_at(what: str, ids: Sequence[str], at: float) -> list[UpdateOne]:
    """The updates that list these; those that are listed already stay as they are."""
    new: Document = {"$setOnInsert": {"what": what, "at": at}}
    return [UpdateOne({"_id": key_of(what, each)}, new, upsert=True) for each in ids]


def due_again(what: str, times: Mapping[str, float], *, upsert: bool = False) -> list[UpdateOne]:
    """The updates that give these another time; with `upsert`, those that are not listed too."""
    return [
        UpdateOne({"_id": key_of(what, each)}, {"$set": {"what": what, "at": at}}, upsert=upsert)
        for each, at in times.items()
    ]


def key_of(what: str, id: str) -> str:
    """The `_id` of a task or a job in the list."""
    return f"{what}/{id}"


def id_of(document: Document) -> str:
    """The task or job that is listed."""
    return str(document["_id"]).partition("/")[2]
