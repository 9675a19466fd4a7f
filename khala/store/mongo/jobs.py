"""Jobs in MongoDB. Any thread may call.

A job's tasks need no index of their own: their ids are neighbours and they are all as old as the job, so
a range of the queue's index (state, created_at, _id) has those in one state, and a range of `created`
all of them in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from khala.core.jobs import Job, JobPage, SearchJobs
from khala.core.sweeps import MAX_JOB_TASKS, task_id_of
from khala.core.task import State
from khala.errors import Unavailable
from khala.store.mongo.client import Connection, Document
from khala.store.mongo.removals import JOB, due_again
from khala.store.mongo.schema import JOBS, QUEUE_INDEX, REMOVALS, TASKS
from khala.store.mongo.selection import UNFINISHED, between
from khala.store.views import plan_jobs, read_page_token, token_of


class MongoJobs:
    """JobStore. `open_at` is the time of creation while a job is not finished."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._jobs = connection.collection(JOBS)
        self._job_tasks = connection.collection(TASKS)

    def insert_job(self, job: Job) -> str:
        """See JobStore."""
        with self._connection.writing("store a job"):
            try:
                self._jobs.insert_one(_document_of(job))
                return "created"
            except DuplicateKeyError:
                stored = self._jobs.find_one({"_id": job.id}, {"owner": 1, "request_digest": 1})
        if stored is None:
            raise Unavailable(f"job {job.id} exists, but not yet on a majority: send it again")
        same = (stored["owner"], stored["request_digest"]) == (job.owner, job.request_digest)
        return "repeated" if same and job.request_digest else "conflict"

    def jobs(self, job_ids: Sequence[str]) -> Sequence[Job]:
        """See JobStore."""
        with self._connection.reading("read jobs"):
            found = {each["_id"]: each for each in self._jobs.find({"_id": {"$in": list(job_ids)}})}
            return [self._counted(found[job_id]) for job_id in job_ids if job_id in found]

    def search_jobs(self, query: SearchJobs) -> JobPage:
        """See JobStore."""
        limit = plan_jobs(query)
        wanted: Document = {} if query.owner is None else {"owner": query.owner}
        if query.page_token:
            wanted = between(wanted, read_page_token(query.page_token), None, ascending=False)
        with self._connection.reading("search jobs"):
            found = list(
                self._jobs.find(wanted, {"template": 0})
                .sort([("created_at", DESCENDING), ("_id", DESCENDING)])
                .limit(limit + 1)
            )
            shown = tuple(self._counted(document) for document in found[:limit])
        more = len(found) > limit
        return JobPage(
            jobs=shown, next_page_token=token_of((shown[-1].created_at, shown[-1].id)) if more else ""
        )

    def open_jobs(self, after: tuple[float, str], limit: int) -> Sequence[Job]:
        """See JobStore."""
        key: Document = {
            "$or": [{"open_at": {"$gt": after[0]}}, {"open_at": after[0], "_id": {"$gt": after[1]}}]
        }
        with self._connection.reading("look for open jobs"):
            found = self._jobs.find(key).sort([("open_at", ASCENDING), ("_id", ASCENDING)]).limit(limit)
            return [_job_of(document) for document in found]

    def advance_job(self, job_id: str, created: int) -> Job | None:
        """See JobStore."""
        with self._connection.writing("note how far a job is"):
            stored = self._jobs.find_one_and_update(
                {"_id": job_id}, {"$max": {"created": created}}, return_document=ReturnDocument.AFTER
            )
            return _job_of(stored) if stored else None

    def request_job_cancel(self, job_id: str, reason: str, owner: str | None = None) -> Job | None:
        """See JobStore."""
        wanted: Document = {"_id": job_id} if owner is None else {"_id": job_id, "owner": owner}
        unfinished = wanted | {"finished_at": None, "cancel_requested": False}
        with self._connection.writing("cancel a job"):
            self._jobs.update_one(unfinished, {"$set": {"cancel_requested": True, "reason": reason}})
            stored = self._jobs.find_one(wanted)
            return self._counted(stored) if stored else None

    def job_tasks(self, job: Job, states: Sequence[State], limit: int, after: str = "") -> Sequence[str]:
        """See JobStore."""
        with self._connection.reading("look for tasks of a job"):
            found = self._job_tasks.find(_of(job, states, after), {"_id": 1}).hint(QUEUE_INDEX)
            return [document["_id"] for document in found.sort("_id", ASCENDING).limit(limit)]

    def job_uncancelled(self, job: Job, limit: int) -> Sequence[str]:
        """See JobStore."""
        wanted = _of(job, UNFINISHED) | {"cancel_requested": False}
        with self._connection.reading("look for tasks of a job"):
            found = self._job_tasks.find(wanted, {"_id": 1}).hint(QUEUE_INDEX).limit(limit)
            return [document["_id"] for document in found]

    def finish_job(self, job_id: str, at: float) -> None:
        """See JobStore. What is finished never changes, so the counts are those of the moment."""
        with self._connection.writing("finish a job"):
            stored = self._jobs.find_one({"_id": job_id, "finished_at": None})
            if stored is None:
                return
            ttl_s = stored["template"].get("ttl_after_finished_s")
            if ttl_s is not None:  # before its end is noted, so that no end is without it
                removals = self._connection.collection(REMOVALS)
                removals.bulk_write(due_again(JOB, {job_id: at + ttl_s}, upsert=True))
            counts = dict(self._counted(stored).counts)
            self._jobs.update_one(
                {"_id": job_id, "finished_at": None},
                {"$set": {"finished_at": at, "counts": counts}, "$unset": {"open_at": ""}},
            )

    def _counted(self, document: Document) -> Job:
        """The job with its counts, which the index alone gives, in one snapshot."""
        job = _job_of(document)
        if job.finished_at is not None:
            return job
        tasks = self._job_tasks.with_options(read_concern=ReadConcern("snapshot"))
        per_state = [
            {"$match": _of(job, list(State))},
            {"$group": {"_id": "$state", "tasks": {"$sum": 1}}},
        ]
        rows = tasks.aggregate(per_state, hint=QUEUE_INDEX)
        return replace(job, counts={row["_id"]: row["tasks"] for row in rows})


def range_of(job_id: str, created_at: float, after: str = "") -> Document:
    """What a job's tasks have in common, from its first one or from after an id."""
    return {"created_at": created_at, "_id": ids_of(job_id, after)}


def ids_of(job_id: str, after: str = "") -> Document:
    """The ids that a job's tasks may have, or those of them after an id."""
    begin = {"$gt": after} if after else {"$gte": task_id_of(job_id, 0)}
    return begin | {"$lte": task_id_of(job_id, MAX_JOB_TASKS)}


def _of(job: Job, states: Sequence[State | str], after: str = "") -> Document:
    return {"state": {"$in": [str(state) for state in states]}} | range_of(job.id, job.created_at, after)


def _document_of(job: Job) -> Document:
    document: Document = msgspec.to_builtins(job, builtin_types=(bytes,))
    del document["id"]
    return document | {"_id": job.id, "open_at": job.created_at}


def _job_of(document: Document) -> Job:
    found: Job = msgspec.convert(document | {"id": document["_id"]}, Job, builtin_types=(bytes,))
    return found
