"""Removing what is over from MongoDB. Any thread may call.

What is to be removed is listed first and struck off last, and what hangs on a task goes before the task
itself does: so whatever a crash leaves is due again, and nothing is ever left that nobody would find.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pymongo import ASCENDING, DeleteMany, DeleteOne

from khala.core.retention import DueJob, DueTask, FinishedTask, Standing
from khala.core.task import ACTIVE, State, Task
from khala.store.mongo.client import Connection, Document
from khala.store.mongo.documents import PROJECTIONS, PURGED_AT, task_of, tombstone_pipeline
from khala.store.mongo.jobs import ids_of, range_of
from khala.store.mongo.removals import JOB, TASK, due_again, due_at, id_of, key_of
from khala.store.mongo.schema import JOBS, OUTPUTS, QUEUE_INDEX, REMOVALS, TASKS
from khala.store.mongo.selection import FINISHED, UNFINISHED

_FINISHED_TASK: Document = dict.fromkeys(
    ("created_at", "finished_at", "job_id", "spec.ttl_after_finished_s"), 1
)


class MongoRetention:
    """RetentionStore, and `purge` by hand."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._all_tasks = connection.collection(TASKS)
        self._all_jobs = connection.collection(JOBS)
        self._all_outputs = connection.collection(OUTPUTS)
        self._list = connection.collection(REMOVALS)

    def purge(self, task_id: str, at: float, owner: str | None = None) -> Task | None:
        """See TaskStore."""
        wanted: Document = {"_id": task_id, "state": {"$gt": ""}}
        if owner is not None:
            wanted["owner"] = owner
        with self._connection.writing("purge a task"):
            found = self._all_tasks.find_one(wanted, PROJECTIONS["minimal"])
            if found is None:
                return None
            if found["state"] not in UNFINISHED:
                self._list.bulk_write(due_again(TASK, {task_id: at}, upsert=True))
                self._bury([task_id], at)
            return task_of(found)

    def finished_tasks(
        self, state: State, after: tuple[float, str], created_before: float, limit: int
    ) -> Sequence[FinishedTask]:
        """See RetentionStore. As with the queue, the bounds are given to the index itself."""
        first: list[Any] = [("state", state.value), ("created_at", after[0]), ("_id", after[1])]
        last: list[Any] = [("state", state.value), ("created_at", created_before), ("_id", "")]
        if limit < 1 or after[0] >= created_before:
            return []
        with self._connection.reading("look for tasks that are over"):
            found = self._all_tasks.find({"_id": {"$ne": after[1]}}, _FINISHED_TASK).hint(QUEUE_INDEX)
            return [_finished_of(document) for document in found.min(first).max(last).limit(limit)]

    def finished_jobs(
        self, after: tuple[float, str], finished_before: float, limit: int
    ) -> Sequence[tuple[float, str]]:
        """See RetentionStore."""
        later: list[Document] = [
            {"finished_at": {"$gt": after[0], "$lt": finished_before}},
            {"finished_at": after[0], "_id": {"$gt": after[1]}},
        ]
        if limit < 1 or after[0] >= finished_before:
            return []
        with self._connection.reading("look for jobs that are over"):
            found = self._all_jobs.find({"$or": later}, {"finished_at": 1})
            by_age = found.sort([("finished_at", ASCENDING), ("_id", ASCENDING)]).limit(limit)
            return [(document["finished_at"], document["_id"]) for document in by_age]

    def expire(self, at: float, *, tasks: Sequence[str] = (), jobs: Sequence[str] = ()) -> None:
        """See RetentionStore."""
        self._write_list([*due_at(TASK, tasks, at), *due_at(JOB, jobs, at)])

    def look_again(
        self, *, tasks: Mapping[str, float] | None = None, jobs: Mapping[str, float] | None = None
    ) -> None:
        """See RetentionStore."""
        self._write_list([*due_again(TASK, tasks or {}), *due_again(JOB, jobs or {})])

    def due_tasks(self, at: float, limit: int) -> Sequence[DueTask]:
        """See RetentionStore."""
        with self._connection.reading("look for tasks that are due"):
            ids = self._due(TASK, at, limit)
            stored = self._all_tasks.find({"_id": {"$in": ids}}, {"state": 1, PURGED_AT: 1})
            found = {document["_id"]: document for document in stored}
        return [_due_task_of(task_id, found.get(task_id)) for task_id in ids]

    def due_jobs(self, at: float, limit: int, tasks_each: int) -> Sequence[DueJob]:
        """See RetentionStore."""
        with self._connection.reading("look for jobs that are due"):
            ids = self._due(JOB, at, limit)
            stored = self._all_jobs.find({"_id": {"$in": ids}}, {"created_at": 1, "finished_at": 1})
            found = {document["_id"]: document for document in stored}
            return [self._due_job(job_id, found.get(job_id), tasks_each) for job_id in ids]

    def oldest_open(self) -> float:
        """See RetentionStore; each is the first entry of an index."""
        with self._connection.reading("look for the oldest that is open"):
            times = self._oldest(UNFINISHED)
            opened = self._all_jobs.find({"open_at": {"$gt": 0}}, {"open_at": 1})
            times += [job["open_at"] for job in opened.sort("open_at", ASCENDING).limit(1)]
        return min(times, default=math.inf)

    def oldest_active(self) -> float:
        """See RetentionStore."""
        with self._connection.reading("look for the oldest that runs"):
            return min(self._oldest(ACTIVE), default=math.inf)

    def purge_tasks(self, task_ids: Sequence[str], at: float, again_at: float) -> None:
        """See RetentionStore."""
        if not task_ids:
            return
        with self._connection.writing("purge tasks"):
            self._list.bulk_write(due_at(TASK, task_ids, at), ordered=False)
            self._bury(task_ids, at)
            keys = [key_of(TASK, task_id) for task_id in task_ids]
            self._list.update_many({"_id": {"$in": keys}}, {"$set": {"at": again_at}})

    def forget_tasks(self, tasks: Sequence[DueTask]) -> None:
        """See RetentionStore. A tombstone that somebody came to need has another time, and stays."""
        if not tasks:
            return
        ids = [task.task_id for task in tasks]
        purged = [task for task in tasks if task.standing == Standing.PURGED]
        with self._connection.writing("forget tasks"):
            self._drop_outputs(ids)
            if purged:
                same = [DeleteOne({"_id": each.task_id, PURGED_AT: each.purged_at}) for each in purged]
                self._all_tasks.bulk_write(same, ordered=False)
            left = {each["_id"] for each in self._all_tasks.find({"_id": {"$in": ids}}, {"_id": 1})}
            gone = [key_of(TASK, task_id) for task_id in ids if task_id not in left]
            self._list.delete_many({"_id": {"$in": gone}})

    def forget_job(self, job_id: str) -> None:
        """See RetentionStore."""
        with self._connection.writing("forget a job"):
            self._all_jobs.delete_one({"_id": job_id, "finished_at": {"$ne": None}})
            self._list.delete_one({"_id": key_of(JOB, job_id)})

    def sweep_outputs(self, after: str, limit: int) -> str:
        """See RetentionStore. A task is stored before its output is: whoever is not found was purged."""
        with self._connection.writing("look for output that belongs to nothing"):
            seen: list[str] = []
            while len(seen) < limit:
                first = self._all_outputs.find_one(
                    {"_id": {"$gt": f"{after}0"}}, {"_id": 1}, sort=[("_id", ASCENDING)]
                )
                if first is None:
                    break
                after = first["_id"].partition("/")[0]
                seen.append(after)
            there = {"_id": {"$in": seen}, "state": {"$gt": ""}}
            owned = {document["_id"] for document in self._all_tasks.find(there, {"_id": 1})}
            self._drop_outputs(task_id for task_id in seen if task_id not in owned)
        return after if len(seen) == limit else ""

    def _oldest(self, states: Iterable[str]) -> list[float]:
        """When the oldest task in each of these states was made, where there is one."""
        return [
            document["created_at"]
            for state in states
            for document in self._all_tasks.find({"state": state}, {"created_at": 1})
            .sort([("created_at", ASCENDING), ("_id", ASCENDING)])
            .hint(QUEUE_INDEX)
            .limit(1)
        ]

    def _bury(self, task_ids: Sequence[str], at: float) -> None:
        """Those that are finished; output first, for a task that is still there after a crash is due."""
        finished: Document = {"_id": {"$in": list(task_ids)}, "state": {"$in": FINISHED}}
        self._drop_outputs(document["_id"] for document in self._all_tasks.find(finished, {"_id": 1}))
        self._all_tasks.update_many(finished, tombstone_pipeline(at))

    def _drop_outputs(self, task_ids: Iterable[str]) -> None:
        """All pieces of their streams, whose `_id` begins with the task's."""
        wanted = [DeleteMany({"_id": {"$gt": f"{task_id}/", "$lt": f"{task_id}0"}}) for task_id in task_ids]
        if wanted:
            self._all_outputs.bulk_write(wanted, ordered=False)

    def _write_list(self, updates: Sequence[Any]) -> None:
        if updates:
            with self._connection.writing("note what is due"):
                self._list.bulk_write(updates, ordered=False)

    def _due(self, what: str, at: float, limit: int) -> list[str]:
        if limit < 1:
            return []
        listed = self._list.find({"what": what, "at": {"$lte": at}}, {"_id": 1})
        return [id_of(document) for document in listed.sort("at", ASCENDING).limit(limit)]

    def _due_job(self, job_id: str, stored: Document | None, tasks_each: int) -> DueJob:
        if stored is None:
            return DueJob(job_id=job_id, standing=Standing.GONE)
        if stored.get("finished_at") is None:
            return DueJob(job_id=job_id, standing=Standing.OPEN)
        own = {"state": {"$in": FINISHED}, "job_id": job_id} | range_of(job_id, stored["created_at"])
        tasks = self._all_tasks.find(own, {"_id": 1}).hint(QUEUE_INDEX).limit(tasks_each)
        return DueJob(
            job_id=job_id,
            standing=Standing.FINISHED,
            tasks=tuple(document["_id"] for document in tasks),
            has_left=self._all_tasks.find_one({"_id": ids_of(job_id)}, {"_id": 1}) is not None,
        )


def _finished_of(document: Document) -> FinishedTask:
    return FinishedTask(
        task_id=document["_id"],
        created_at=document["created_at"],
        finished_at=document["finished_at"],
        job_id=document.get("job_id", ""),
        ttl_s=document["spec"].get("ttl_after_finished_s"),
    )


def _due_task_of(task_id: str, stored: Document | None) -> DueTask:
    if stored is None:
        return DueTask(task_id=task_id, standing=Standing.GONE)
    if PURGED_AT in stored:
        return DueTask(task_id=task_id, standing=Standing.PURGED, purged_at=stored[PURGED_AT])
    standing = Standing.OPEN if stored["state"] in UNFINISHED else Standing.FINISHED
    return DueTask(task_id=task_id, standing=standing)
