"""Lists of tasks from MongoDB: the leader's scans, and searches.

Any thread may call. A scan never reads large fields; none of them writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bson.max_key import MaxKey
from pymongo import ASCENDING, DESCENDING

from khala.core.commands import SearchTasks, TaskPage
from khala.core.messages import QueuedTask
from khala.core.task import ACTIVE, State
from khala.store.interface import QueueKey
from khala.store.mongo.client import Document
from khala.store.mongo.counting import MongoCounts
from khala.store.mongo.documents import PROJECTIONS, QUEUED, queued_of, task_of
from khala.store.mongo.failures import translated
from khala.store.mongo.jobs import range_of
from khala.store.mongo.schema import CANCELS, JOBS, QUEUE_INDEX
from khala.store.mongo.selection import UNFINISHED, Key, between, filter_of, index_of
from khala.store.views import PagePlan, page_of, plan_page, token_of

PENDING = State.PENDING.value
ACTIVE_STATES = sorted(state.value for state in ACTIVE)


class MongoLists(MongoCounts):
    """The reading half of TaskStore. A search that no index answers looks at `looks_at_most` tasks a page."""

    looks_at_most = 5_000

    def scan_queue(self, after: tuple[float, str], limit: int) -> Sequence[QueuedTask]:
        """See TaskStore."""
        return [queued_of(document) for document in self._scan_queue(after, limit, QUEUED)]

    def scan_queue_keys(self, after: tuple[float, str], limit: int) -> Sequence[QueueKey]:
        """See TaskStore."""
        found = self._scan_queue(after, limit, {"created_at": 1, "rev": 1})
        return [(document["created_at"], document["_id"], document["rev"]) for document in found]

    def _scan_queue(self, after: tuple[float, str], limit: int, projection: Document) -> list[Document]:
        """The bounds are given to the index itself, so equal times cost nothing either."""
        if limit < 1:
            return []
        first: list[Any] = [("state", PENDING), ("created_at", after[0]), ("_id", after[1])]
        last: list[Any] = [("state", PENDING), ("created_at", MaxKey()), ("_id", MaxKey())]
        # The lower bound of an index scan is inclusive, the key that was given is not.
        beyond_first = {"$or": [{"created_at": {"$ne": after[0]}}, {"_id": {"$ne": after[1]}}]}
        with self._connection.reading("scan the queue"):
            found = self._tasks.find(beyond_first, projection).hint(QUEUE_INDEX).min(first).max(last)
            return list(found.limit(limit).batch_size(limit))

    def scan_active(self, after: str, limit: int) -> Sequence[QueuedTask]:
        """See TaskStore. The ids come from the queue's index alone, the tasks from the same snapshot."""
        if limit < 1:
            return []
        active = {"state": {"$in": ACTIVE_STATES}, "_id": {"$gt": after}}
        with translated("scan active tasks", writes=False), self._connection.snapshot() as session:
            keys = self._tasks.find(active, {"_id": 1}, session=session).hint(QUEUE_INDEX)
            ids = [document["_id"] for document in keys.sort("_id", ASCENDING).limit(limit)]
            found = self._tasks.find({"_id": {"$in": ids}}, QUEUED, session=session).sort("_id", ASCENDING)
            return [queued_of(document) for document in found]

    def scan_cancels(self, limit: int) -> Sequence[QueuedTask]:
        """See TaskStore; by id. Notes of what is over are removed."""
        requested: list[QueuedTask] = []
        notes = self._connection.collection(CANCELS)
        with self._connection.writing("scan cancel requests"):
            after = ""
            while len(requested) < limit:
                noted = notes.find({"_id": {"$gt": after}}).sort("_id", ASCENDING).limit(limit)
                ids = [note["_id"] for note in noted]
                if not ids:
                    break
                after = ids[-1]
                wanted = {"_id": {"$in": ids}, "state": {"$in": UNFINISHED}}
                open_ones = {document["_id"]: document for document in self._tasks.find(wanted, QUEUED)}
                over = [task_id for task_id in ids if task_id not in open_ones]
                if over:
                    notes.delete_many({"_id": {"$in": over}})
                found = (open_ones[task_id] for task_id in ids if task_id in open_ones)
                requested += [queued_of(each) for each in found if each["cancel_requested"]]
        return requested[:limit]

    def search(self, query: SearchTasks) -> TaskPage:
        """See TaskStore."""
        plan = plan_page(query)
        wanted = filter_of(query)
        index, answered = index_of(query)
        rest = {field: value for field, value in wanted.items() if field not in (*answered, "created_at")}
        walks = bool(rest) and not (plan.unpaged or query.offset or query.count_total)
        with self._connection.reading("search tasks"):
            within = {field: value for field, value in wanted.items() if field not in rest}
            if query.job_id:
                job = self._connection.collection(JOBS).find_one({"_id": query.job_id}, {"created_at": 1})
                if job is None:
                    return page_of([], plan, 0 if query.count_total else -1)
                within = {"$and": [within, range_of(query.job_id, job["created_at"])]}
                rest["job_id"] = query.job_id  # hardly any other task is in that range
            if walks:
                return self._walk(query, plan, index, within, rest)
            window = between(within, plan.after, None, ascending=query.oldest_first)
            found = self._tasks.find({"$and": [window, rest]}, PROJECTIONS[query.view]).sort(_order(query))
            tasks = [task_of(document) for document in found.skip(query.offset).limit(plan.take + 1)]
            page = page_of(tasks, plan, -1)
            if not query.count_total:
                return page
            first = self._first_looked_at(query, index, within) if rest else None
        if not rest and wanted == filter_of(SearchTasks(owner=query.owner)):
            counted = self.counts_at_once(query.owner)
            total, at_least = sum(counted.counts.values()), counted.at_least
        else:
            total, at_least = self.count_found(
                {"$and": [within, rest]} if rest else within, first and {"$and": [first, rest]}
            )
        shown = query.offset + len(tasks) if tasks else 0
        return replace(page, total=max(total, shown), at_least=at_least)

    def _walk(
        self, query: SearchTasks, plan: PagePlan, index: str, within: Document, rest: Document
    ) -> TaskPage:
        """Look at the next tasks of those `within`, at most `looks_at_most`, for what matches `rest` as well:
        no index answers that, and a store of a million tasks would be read for a name that nobody has."""
        order, ascending = _order(query), query.oldest_first
        window = between(within, plan.after, None, ascending=ascending)
        last = self._last_looked_at(window, index, order)
        if last:
            window = between(within, plan.after, last, ascending=ascending)
        matching = self._tasks.find({"$and": [window, rest]}, PROJECTIONS[query.view]).hint(index).sort(order)
        tasks = [task_of(document) for document in matching.limit(plan.take + 1)]
        if len(tasks) > plan.take:
            return page_of(tasks, plan, -1)
        return TaskPage(tasks=tuple(tasks), next_page_token=token_of(last) if last else "")

    def _first_looked_at(self, query: SearchTasks, index: str, within: Document) -> Document | None:
        """The part of those `within` that a search looks at; None when it is all of them."""
        last = self._last_looked_at(within, index, _order(query))
        return last and between(within, None, last, ascending=query.oldest_first)

    def _last_looked_at(self, window: Document, index: str, order: list[tuple[str, int]]) -> Key | None:
        found = self._tasks.find(window, {"created_at": 1}).hint(index).sort(order)
        for last in found.skip(self.looks_at_most - 1).limit(1):
            return last["created_at"], last["_id"]
        return None


def _order(query: SearchTasks) -> list[tuple[str, int]]:
    direction = ASCENDING if query.oldest_first else DESCENDING
    return [("created_at", direction), ("_id", direction)]
