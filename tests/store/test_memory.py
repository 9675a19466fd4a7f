"""What only the in-memory twin has: faults on order, and a history."""

from __future__ import annotations

import pytest
from store.samples import assign, commit_one, one, task

from khala.core.task import Epoch
from khala.errors import OutcomeUnknown, Unavailable
from khala.store.memory import MemoryStore
from khala.store.memory_calls import StoreFault


def test_a_fault_is_raised_before_or_after_the_write() -> None:
    plan: list[tuple[str, StoreFault]] = []

    def faults(method: str) -> StoreFault | None:
        return plan.pop(0)[1] if plan and plan[0][0] == method else None

    store = MemoryStore(faults=faults)
    store.prepare()
    plan[:] = [("insert", StoreFault.UNAVAILABLE)]
    with pytest.raises(Unavailable):
        store.insert([task(1)])
    plan[:] = [("insert", StoreFault.UNKNOWN_NOT_APPLIED)]
    with pytest.raises(OutcomeUnknown):
        store.insert([task(1)])
    assert store.counts() == {}
    plan[:] = [("insert", StoreFault.UNKNOWN_APPLIED), ("read", StoreFault.UNKNOWN_APPLIED)]
    with pytest.raises(OutcomeUnknown):
        store.insert([task(1)])
    with pytest.raises(Unavailable):
        one(store, 1)
    assert one(store, 1) == task(1)


def test_the_history_lists_what_was_committed_and_by_whom() -> None:
    store = MemoryStore(record_history=True)
    store.prepare()
    store.insert([task(1), task(2)])
    epoch = store.take_epoch("a")
    assert store.holder == "a"
    assigned = commit_one(store, epoch, assign(task(1), epoch))
    store.commit(epoch, [assign(task(1), epoch)])
    store.request_cancel([task(1).id], 3.0)
    after = one(store, 1)
    assert store.history == [(epoch, assigned.id, after.events[0]), (Epoch(), assigned.id, after.events[1])]
