"""The order in which the store really took its writes, from MongoDB's own log of them.

A story's times say when a leader decided; the oplog says when that was written, and what came after
it. It is read by the harness's own connection, once all is at rest, from the primary: what a failover rolled
back is not in it, and must not be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

from cluster.conftest import LocalCluster
from history.records import EpochTaken, Record, TaskChanged
from history.violation import require

from khala.core.task import TERMINAL, Epoch
from khala.store.mongo.client import MongoSettings, open_client
from khala.store.mongo.schema import LEADER_ID, META, TASKS

Write = Mapping[str, Any]
DATABASE = "khala"


@dataclass(frozen=True, slots=True)
class TaskWritten:
    """A task reached this rev; 0: something else of it was changed."""

    at: float
    task_id: str
    rev: int


def writes(cluster: LocalCluster) -> list[TaskWritten | EpochTaken]:
    """Every write to a task, and every epoch taken, in the order in which they were committed."""
    ports = cluster.record().ports
    hosts = tuple(f"127.0.0.1:{port}" for name, port in ports.items() if name.endswith(".mongodb"))
    secret = (cluster.directory / "secret").read_text().strip()
    with open_client(MongoSettings(hosts=hosts, secret=secret, timeout_s=60.0)) as client:
        entries = client["local"]["oplog.rs"].find({"op": {"$in": ["i", "u", "c"]}}).sort("$natural", 1)
        leader = client[DATABASE][META].find_one({"_id": LEADER_ID}) or {}
        return [write for entry in entries for write in _of_entry(entry, leader["generation"])]


def in_order(stored: Sequence[Record], committed: Sequence[TaskWritten | EpochTaken]) -> list[Record]:
    """The changes of `stored` at the times of their writes, with the epochs; all other records as they are.

    I6: nothing of a task is written after its end. I4: each change of the story was written.
    """
    changes = {
        (record.task_id, record.control.rev): record for record in stored if isinstance(record, TaskChanged)
    }
    ended: set[str] = set()
    ordered: list[Record] = []
    at = 0.0
    for write in committed:
        at = max(at, write.at)
        if isinstance(write, EpochTaken):
            ordered.append(replace(write, at=at))
            continue
        require(write.task_id not in ended, "I6", "{} was written to after its end: {}", write.task_id, write)
        change = changes.pop((write.task_id, write.rev), None)
        if change is not None:
            at = max(at, change.at)
            ordered.append(replace(change, at=at))
            if change.control.state in TERMINAL:
                ended.add(write.task_id)
    require(not changes, "I4", "these changes are in no write: {}", list(changes)[:5])
    return ordered + [record for record in stored if not isinstance(record, TaskChanged)]


def _of_entry(entry: Write, generation: int) -> Iterator[TaskWritten | EpochTaken]:
    at = entry["wall"].replace(tzinfo=UTC).timestamp()
    operations = entry["o"].get("applyOps", ()) if entry["op"] == "c" else (entry,)
    for operation in operations:
        if operation.get("op") not in ("i", "u"):
            continue
        if operation["ns"] == f"{DATABASE}.{TASKS}":
            yield _task_written(at, operation)
        elif operation["ns"] == f"{DATABASE}.{META}":
            yield from _epoch_taken(at, operation, generation)


def _task_written(at: float, operation: Write) -> TaskWritten:
    if operation["op"] == "i":
        return TaskWritten(at, operation["o"]["_id"], operation["o"]["rev"])
    return TaskWritten(at, operation["o2"]["_id"], _changed(operation).get("rev", 0))


def _epoch_taken(at: float, operation: Write, generation: int) -> Iterator[EpochTaken]:
    if operation["op"] == "u" and operation["o2"]["_id"] == LEADER_ID:
        changed = _changed(operation)
        if "number" in changed:
            yield EpochTaken(at, Epoch(generation, changed["number"]), changed.get("holder", ""))


def _changed(operation: Write) -> Write:
    """The top fields that an update set (the format of MongoDB 6: `diff` with updated and inserted ones)."""
    diff = operation["o"].get("diff", {})
    return {**diff.get("u", {}), **diff.get("i", {})}
