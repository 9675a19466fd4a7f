"""Group commit of the leader's changes: at once when idle, gathering only while a write is in flight.

Its thread blocks in the store, which is what makes the next batch gather in its inbox; nobody waits
for it. Every batch is guarded by the epoch that decided it (P1). What a failed writer had in hand is
nobody's knowledge: the scheduler takes a new epoch when it hears that the writer began again.
"""

from __future__ import annotations

import time

from khala.actors.actor import NodeActor, Stage
from khala.actors.leader_messages import (
    ChangesAnswered,
    ChangesUnknown,
    CommitChanges,
    EpochLost,
    EpochNotTaken,
    EpochTaken,
    TakeEpoch,
)
from khala.actors.messages import Began, Flush
from khala.bus.envelope import Envelope
from khala.core.changes import Change
from khala.core.task import Epoch
from khala.errors import StaleEpoch, Unavailable
from khala.store.interface import TaskStore

STORE_WRITER = "store-writer"
BATCH_CHANGES = 1_000
FIRST_CHANGES = 64
"""After a rest: whoever has nothing to do need not wait until all that came at once is written."""
BATCH_BYTES = 8 << 20
REST_MOST_S = 0.02
UNRESTED_BATCHES = 2


class StoreWriter(NodeActor):
    """Answers go to the node's scheduler."""

    def __init__(self, stage: Stage, *, store: TaskStore) -> None:
        super().__init__(stage, STORE_WRITER)
        self._store = store
        self._epoch = Epoch()
        self._waiting: list[Change] = []
        self._flushing = False
        self._resting = False
        self._ended_at = 0.0
        self._took_s = 0.0
        self._in_a_row = 0

    def begin(self) -> None:
        """Whatever was sent to an earlier writer may be lost."""
        self.tell("scheduler", Began(self.name))

    def handle_take_epoch(self, wanted: TakeEpoch, envelope: Envelope) -> None:
        """Take the next epoch."""
        try:
            epoch = self._store.take_epoch(self.stage.node)
        except Unavailable as why:
            self.tell("scheduler", EpochNotTaken(wanted.asked_at, str(why)))
        else:
            self.tell("scheduler", EpochTaken(wanted.asked_at, epoch))

    def handle_commit_changes(self, commit: CommitChanges, envelope: Envelope) -> None:
        """Gather; an older epoch's changes are dropped with it."""
        if commit.epoch < self._epoch:
            return
        if commit.epoch > self._epoch:
            self._epoch, self._waiting = commit.epoch, []
        self._waiting += commit.changes
        if not self._flushing:
            self._flushing = True
            self.tell(self.name, Flush())

    def handle_flush(self, flush: Flush, envelope: Envelope) -> None:
        """Write what has gathered, at most one batch, then look at the inbox again."""
        if not self._resting:
            self._resting = True
            self._rest()
            self.tell(self.name, Flush())
            return
        self._resting = False
        batch = self._next_batch()
        self._flushing = bool(self._waiting)
        if self._flushing:
            self.tell(self.name, Flush())
        if batch:
            self._commit(batch)

    def _rest(self) -> None:
        """Let a batch gather for as long as the last one took, at most, since that one ended.

        Each batch costs the same whatever is in it; without a rest, a busy cluster would write one or
        two changes at a time and spend on that what its tasks could use. An idle one never waits here, and
        one task alone, whose end follows upon its start, is not taken for a busy one.
        """
        since = time.monotonic() - self._ended_at
        rest_s = min(self._took_s, REST_MOST_S) - since
        self._in_a_row = self._in_a_row + 1 if rest_s > 0 else 0
        if rest_s > 0 and self._in_a_row > UNRESTED_BATCHES:
            time.sleep(rest_s)

    def _commit(self, batch: list[Change]) -> None:
        epoch = self._epoch
        began_at = time.monotonic()
        try:
            answers = self._store.commit(epoch, batch)
        except StaleEpoch:
            self._waiting = []
            self.tell("scheduler", EpochLost(epoch))
        except Unavailable as why:
            task_ids = tuple(change.task_id for change in batch)
            self.tell("scheduler", ChangesUnknown(epoch, task_ids, str(why)))
        else:
            self.tell("scheduler", ChangesAnswered(epoch, answers))
        self._ended_at = time.monotonic()
        self._took_s = self._ended_at - began_at

    def _next_batch(self) -> list[Change]:
        size, count = 0, 0
        most = BATCH_CHANGES if self._in_a_row else FIRST_CHANGES
        for change in self._waiting[:most]:
            size += _size_of(change)
            if count and size > BATCH_BYTES:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch


def _size_of(change: Change) -> int:
    """The bytes that dominate a change: what its result keeps of the outputs."""
    size = 512
    if change.result is not None:
        for phase in (change.result.compile, change.result.execute):
            if phase is not None:
                for stream in (phase.stdout, phase.stderr):
                    size += len(stream.head) + len(stream.tail)
    return size
