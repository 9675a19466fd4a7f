"""Tasks in MongoDB: inserts, guarded batches, cancel requests and lookups by id.

Any thread may call; guarded batches of one process run one after the other. Nothing is told that a
majority has not confirmed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence

from pymongo import UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError
from pymongo.read_concern import ReadConcern

from khala.core.changes import Change, Changed, Inserted
from khala.core.task import TERMINAL, Epoch, State, Task, TaskSpec
from khala.errors import Fault, OutcomeUnknown, Unavailable
from khala.store.guards import check_changes
from khala.store.mongo.client import Connection, Document
from khala.store.mongo.documents import (
    HINTED,
    PROJECTIONS,
    PURGED_AT,
    PURGED_STATE,
    amend_pipeline,
    cancel_pipeline,
    document_of,
    spec_of,
    statements_of,
    task_of,
    update_of,
)
from khala.store.mongo.failures import DUPLICATE_KEY, PASSING
from khala.store.mongo.leadership import EpochDocument
from khala.store.mongo.removals import TASK, due_again
from khala.store.mongo.schema import CANCELS, REMOVALS, TASKS
from khala.store.mongo.selection import UNFINISHED
from khala.store.mongo.transactions import Transactions
from khala.store.views import check_view

FEW = 4


class _SomeMissed(Exception):
    """Not all changes of a few fit; nothing was written."""


class MongoTasks:
    """The writing half of TaskStore, and `read`."""

    def __init__(self, connection: Connection, transactions: Transactions) -> None:
        self._connection = connection
        self._transactions = transactions
        self._epochs = EpochDocument(connection)
        self._tasks = connection.collection(TASKS)
        self._removals = connection.collection(REMOVALS)
        self._cancels = connection.collection(CANCELS)

    def insert(self, tasks: Sequence[Task]) -> Sequence[Inserted]:
        """See TaskStore."""
        if not tasks:
            return []
        taken: set[int] = set()
        with self._connection.writing("store tasks"):
            try:
                self._tasks.insert_many([document_of(task) for task in tasks], ordered=False)
            except BulkWriteError as error:
                taken = _duplicates(error)
            self._note_cancels([task.id for task in tasks if task.control.cancel_requested])
            stored = self._requests([tasks[index].id for index in sorted(taken)])
        return [_inserted(task, index in taken, stored) for index, task in enumerate(tasks)]

    def take_epoch(self, holder: str) -> Epoch:
        """See TaskStore."""
        return self._epochs.take(holder, self._transactions.session_id)

    def commit(self, epoch: Epoch, changes: Sequence[Change]) -> Sequence[Changed]:
        """See TaskStore."""
        check_changes(changes)
        if len(changes) <= FEW and not any(change.want_spec for change in changes):
            with contextlib.suppress(_SomeMissed):
                return self._transactions.run(
                    "commit a few", lambda session: self._apply_few(session, epoch, changes)
                )
        return self._transactions.run("commit a batch", lambda session: self._apply(session, epoch, changes))

    def request_cancel(self, task_ids: Sequence[str], at: float, owner: str | None = None) -> Sequence[Task]:
        """See TaskStore; in the order of `task_ids`."""
        open_ones: Document = {
            "_id": {"$in": list(task_ids)},
            "state": {"$in": UNFINISHED},
            "cancel_requested": False,
        }
        if owner is not None:
            open_ones["owner"] = owner
        with self._connection.writing("request cancels"):
            # First, so that no request is without its note (`scan_cancels`); one without a request is let go.
            latest = self._tasks.with_options(read_concern=ReadConcern("local"))
            found_open = [document["_id"] for document in latest.find(open_ones, {"_id": 1})]
            self._note_cancels(found_open)
            self._tasks.update_many(open_ones, cancel_pipeline(at))
        with self._connection.reading("read tasks"):
            found = self._by_id(task_ids, HINTED)
        named = [found[task_id] for task_id in dict.fromkeys(task_ids) if task_id in found]
        return [task for task in named if owner in (None, task.owner)]

    def amend(
        self,
        task_id: str,
        at: float,
        detail: str,
        *,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        owner: str | None = None,
    ) -> Task | None:
        """See TaskStore."""
        wanted = _own(task_id, owner) | {"state": {"$in": UNFINISHED}}
        with self._connection.writing("change a task"):
            self._tasks.update_one(wanted, amend_pipeline(at, detail, labels, priority))
        return next((task for task in self.read([task_id], "basic") if owner in (None, task.owner)), None)

    def read(self, task_ids: Sequence[str], view: str = "full") -> Sequence[Task]:
        """See TaskStore; in the order of `task_ids`."""
        check_view(view)
        with self._connection.reading("read tasks"):
            found = self._by_id(task_ids, PROJECTIONS[view])
        return [found[task_id] for task_id in dict.fromkeys(task_ids) if task_id in found]

    def standings(
        self, task_ids: Sequence[str], owner: str | None = None, *, needed_at: float | None = None
    ) -> Mapping[str, State]:
        """See TaskStore."""
        wanted: Document = {"_id": {"$in": list(task_ids)}}
        if owner is not None:
            wanted["owner"] = owner
        if needed_at is not None:
            # First, so that what is found after it is kept: forgetting compares the time (RetentionStore).
            with self._connection.writing("keep what others wait for"):
                self._tasks.update_many(wanted | {PURGED_AT: {"$gt": 0}}, {"$max": {PURGED_AT: needed_at}})
        with self._connection.reading("look tasks up"):
            found = list(self._tasks.find(wanted, {"state": 1, PURGED_STATE: 1}))
        states = {each["_id"]: each.get("state") or each.get(PURGED_STATE) for each in found}
        return {task_id: State(state) for task_id, state in states.items() if state}

    def _apply_few(self, session: ClientSession, epoch: Epoch, changes: Sequence[Change]) -> list[Changed]:
        """A batch of few changes that are likely to fit, without a look at their revs first: a task alone on
        an idle cluster waits for each round trip. _SomeMissed if one does not fit."""
        self._epochs.guard(epoch, session)
        if changes:
            updates = [
                UpdateOne({"_id": change.task_id, "rev": change.expected_rev}, update_of(change))
                for change in changes
            ]
            if self._tasks.bulk_write(updates, session=session).matched_count != len(updates):
                raise _SomeMissed
            self._note(changes, session)
        return [Changed(task_id=change.task_id, applied=True) for change in changes]

    def _apply(self, session: ClientSession, epoch: Epoch, changes: Sequence[Change]) -> list[Changed]:
        """One batch within a transaction.

        The transaction reads and writes one snapshot, and a write to a document that changed since is
        a conflict that ends it; so comparing the revs first is as exact as a filter on rev in each
        update, and twice as fast, for an update by `_id` alone needs no plan.
        """
        self._epochs.guard(epoch, session)
        specs, revs = self._before(changes, session)
        applied: list[bool] = []
        for change in changes:
            fits = revs.get(change.task_id) == change.expected_rev
            if fits:
                revs[change.task_id] = change.control.rev
            applied.append(fits)
        pairs = list(zip(changes, applied, strict=True))
        fitting = [change for change, fits in pairs if fits]
        if fitting:
            done = self._tasks.bulk_write(statements_of(fitting), session=session)
            if done.matched_count != len(fitting):
                raise Fault("a task vanished within a transaction: is mongod's storage engine WiredTiger?")
            self._note(fitting, session)
        misses = [change.task_id for change, fits in pairs if not fits]
        missed = self._by_id(misses, PROJECTIONS["basic"], session)
        return [_changed(change, fits, specs, missed) for change, fits in pairs]

    def _note_cancels(self, task_ids: Sequence[str], session: ClientSession | None = None) -> None:
        notes = [UpdateOne({"_id": task_id}, {"$setOnInsert": {}}, upsert=True) for task_id in task_ids]
        if notes:
            self._cancels.bulk_write(notes, ordered=False, session=session)

    def _note(self, changes: Sequence[Change], session: ClientSession) -> None:
        """What is kept beside the tasks of some of them."""
        self._note_removals(changes, session)
        open_ones = (change for change in changes if change.control.state not in TERMINAL)
        self._note_cancels([each.task_id for each in open_ones if each.control.cancel_requested], session)

    def _note_removals(self, changes: Sequence[Change], session: ClientSession) -> None:
        """Those that end here and have a time of their own (RetentionStore)."""
        timed = {change.task_id: change.purge_at for change in changes if change.purge_at is not None}
        if timed:
            self._removals.bulk_write(due_again(TASK, timed, upsert=True), session=session)

    def _before(
        self, changes: Sequence[Change], session: ClientSession
    ) -> tuple[dict[str, TaskSpec], dict[str, int | None]]:
        """The specifications that are wanted, and the revs of all."""
        wanted = {change.task_id for change in changes if change.want_spec}
        others = {change.task_id for change in changes} - wanted
        found = self._find(wanted, {"rev": 1, "spec": 1}, session) + self._find(others, {"rev": 1}, session)
        specs = {document["_id"]: spec_of(document) for document in found if "spec" in document}
        return specs, {document["_id"]: document.get("rev") for document in found}

    def _by_id(
        self, task_ids: Sequence[str], projection: Document | None, session: ClientSession | None = None
    ) -> dict[str, Task]:
        found = self._find(task_ids, projection, session)
        return {document["_id"]: task_of(document) for document in found if "state" in document}

    def _find(
        self, task_ids: Collection[str], projection: Document | None, session: ClientSession | None
    ) -> list[Document]:
        """The documents of these tasks, in one answer."""
        ids = list(set(task_ids))
        if not ids:
            return []
        return list(
            self._tasks.find({"_id": {"$in": ids}}, projection, batch_size=len(ids) + 1, session=session)
        )

    def _requests(self, task_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Whose request made each task: owner and digest."""
        if not task_ids:
            return {}
        found = self._tasks.find({"_id": {"$in": list(task_ids)}}, {"owner": 1, "request_digest": 1})
        return {document["_id"]: (document["owner"], document["request_digest"]) for document in found}


def _own(task_id: str, owner: str | None) -> Document:
    return {"_id": task_id} if owner is None else {"_id": task_id, "owner": owner}


def _changed(
    change: Change, fits: bool, specs: Mapping[str, TaskSpec], missed: Mapping[str, Task]
) -> Changed:
    if not fits:
        return Changed(task_id=change.task_id, applied=False, current=missed.get(change.task_id))
    spec = specs[change.task_id] if change.want_spec else None
    return Changed(task_id=change.task_id, applied=True, spec=spec)


def _duplicates(error: BulkWriteError) -> set[int]:
    """The indexes of the tasks whose id exists; anything else that went wrong is raised."""
    details = error.details or {}
    others = [each for each in details.get("writeErrors", ()) if each["code"] != DUPLICATE_KEY]
    unsure = details.get("writeConcernErrors") or any(each["code"] in PASSING for each in others)
    if unsure:
        raise OutcomeUnknown("MongoDB could not confirm that the tasks are on a majority's disk") from error
    if others:
        raise Fault(f"MongoDB refused a task: {others[0].get('errmsg', '')[:300]}") from error
    return {each["index"] for each in details["writeErrors"]}


def _inserted(task: Task, taken: bool, stored: dict[str, tuple[str, str]]) -> Inserted:
    if not taken:
        return Inserted(task_id=task.id, answer="created")
    if task.id not in stored:
        raise Unavailable(f"task {task.id} exists, but not yet on a majority: send it again")
    same = task.request_digest != "" and stored[task.id] == (task.owner, task.request_digest)
    return Inserted(task_id=task.id, answer="repeated" if same else "conflict")
