"""How many tasks there are, in MongoDB, which keeps no such numbers: to count goes over an index.

A few tasks are counted when it is asked. Of many, what is over is counted in the background and remembered;
what is open, which changes all the time, is counted at once even so. Any thread may call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pymongo
from pymongo.read_concern import ReadConcern

from khala.core.commands import TaskCounts
from khala.store.mongo.background import Background
from khala.store.mongo.client import Connection, Document
from khala.store.mongo.schema import OWNER_INDEX, QUEUE_INDEX, TASKS
from khala.store.mongo.selection import EVERY_STATE, FINISHED, UNFINISHED

LONGEST_S = 120.0
"""How long a count in the background may take."""


class MongoCounts:
    """The counting part of TaskStore. More than `many` tasks are counted in the background."""

    many = 10_000

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tasks = connection.collection(TASKS)
        self._many_counts: Background[Mapping[str, int]] = Background()
        self._many_found: Background[int] = Background()

    def counts(self, owner: str | None = None) -> Mapping[str, int]:
        """See TaskStore. Counted in one snapshot, so that no task is counted in two states (I16)."""
        return self._per_state(owner, EVERY_STATE)

    def counts_at_once(self, owner: str | None = None) -> TaskCounts:
        """See TaskStore. Nothing is counted twice, for what was over when that was counted stays so."""
        before = self._many_counts.remembered(owner)
        if before is None or sum(before[0].values()) <= self.many:
            few = self._per_state(owner, EVERY_STATE, self.many + 1)
            if sum(few.values()) <= self.many:
                return TaskCounts(counts=few)
        known = self._many_counts.latest(owner, lambda: self.counts(owner))
        unfinished = self._per_state(owner, UNFINISHED, self.many + 1)
        if known is None:
            over = [self._per_state(owner, [state], self.many // len(FINISHED)) for state in FINISHED]
            least = {state: tasks for some in (unfinished, *over) for state, tasks in some.items()}
            return TaskCounts(counts=least, at_least=True)
        counts = dict(known[0])
        if sum(unfinished.values()) <= self.many:
            counts = {state: counts[state] for state in FINISHED if state in counts} | dict(unfinished)
        return TaskCounts(counts=counts, counted_at=known[1])

    def count_found(self, wanted: Document, first: Document | None = None) -> tuple[int, bool]:
        """How many tasks `wanted` finds, and whether that is only the least. Where no index answers it,
        `first` is the part that is looked at when it is asked, unless that is all."""
        with self._connection.reading("count tasks"):
            found = self._tasks.count_documents(first or wanted, limit=self.many + 1)
        if first is None and found <= self.many:
            return found, False
        known = self._many_found.latest(str(wanted), lambda: self._all_found(wanted))
        return (found, True) if known is None else (known[0], False)

    def close_counts(self) -> None:
        """End the counting in the background."""
        self._many_counts.close()
        self._many_found.close()

    def _all_found(self, wanted: Document) -> int:
        with self._connection.reading("count many tasks"), pymongo.timeout(LONGEST_S):
            return self._tasks.count_documents(wanted)

    def _per_state(
        self, owner: str | None, states: Sequence[str], limit: int | None = None
    ) -> Mapping[str, int]:
        """From one index alone; of at most `limit` tasks, those of the first states by name."""
        index, within = QUEUE_INDEX, {}
        if owner is not None:
            index, within = OWNER_INDEX, {"owner": owner}
        # A tombstone has no state.
        steps: list[Document] = [{"$match": within | {"state": {"$in": list(states)}}}]
        if limit is not None:
            steps.append({"$limit": limit})
        steps.append({"$group": {"_id": "$state", "tasks": {"$sum": 1}}})
        tasks = self._tasks.with_options(read_concern=ReadConcern("snapshot"))
        within_s = LONGEST_S if limit is None else self._connection.settings.timeout_s
        with self._connection.reading("count tasks"), pymongo.timeout(within_s):
            return {row["_id"]: row["tasks"] for row in tasks.aggregate(steps, hint=index)}
