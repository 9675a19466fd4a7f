"""The contract of changing and purging a task by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from store.samples import assert_story_whole, assign, commit_one, finish, one, task

from khala.core.commands import SearchTasks
from khala.core.task import Isolation, State

NOW = 1_800_000_000.0


def finished(store: Any, number: int, **fields: Any) -> str:
    new = replace(task(number, digest="d"), **fields)
    store.insert([new])
    epoch = store.take_epoch("j")
    commit_one(store, epoch, assign(new, epoch))
    commit_one(store, epoch, finish(one(store, number), epoch))
    assert one(store, number).control.state == State.SUCCEEDED
    return new.id


def test_labels_and_priority_change_with_a_line_in_the_story(store: Any) -> None:
    store.insert([task(1, labels={"old": "x"}, priority=1)])
    labels = {"a.b": "c", "$d": ""}
    after = store.amend(task(1).id, NOW, "priority 7, labels", labels=labels, priority=7)
    assert (dict(after.spec.labels), after.spec.priority, after.control.rev) == (labels, 7, 2)
    assert (after.events[-1].kind, after.events[-1].detail) == ("amended", "priority 7, labels")
    assert [len(store.search(SearchTasks(label=label)).tasks) for label in ("a.b=c", "$d", "old")] == [
        1,
        1,
        0,
    ]
    assert store.scan_queue((0.0, ""), 10)[0].demand.priority == 7
    store.amend(task(1).id, NOW, "labels", labels={})
    assert (dict(one(store, 1).spec.labels), one(store, 1).spec.priority) == ({}, 7)
    assert store.search(SearchTasks(label="a.b")).tasks == ()
    assert_story_whole(one(store, 1))


def test_what_is_finished_or_anothers_is_not_changed(store: Any) -> None:
    id = finished(store, 1, owner="ann")
    before = one(store, 1)
    assert store.amend(id, NOW, "", priority=5).control == before.control
    assert store.amend(id, NOW, "", priority=5, owner="bob") is None
    store.insert([replace(task(2), owner="ann")])
    assert store.amend(task(2).id, NOW, "", priority=5, owner="bob") is None
    assert (one(store, 1), one(store, 2).control.rev) == (before, 1)


def test_a_purged_task_is_gone_and_its_request_still_known(store: Any) -> None:
    id = finished(store, 1, owner="ann")
    store.insert([replace(task(2), owner="ann")])
    assert store.purge(id, NOW, "bob") is None
    assert store.purge(task(2).id, NOW).control.state == State.PENDING
    assert store.purge(id, NOW, "ann").control.state == State.SUCCEEDED
    assert store.purge(id, NOW, "ann") is None
    assert store.read([id]) == [] == list(store.request_cancel([id], NOW))
    assert [found.id for found in store.search(SearchTasks(count_total=True)).tasks] == [task(2).id]
    assert store.search(SearchTasks(count_total=True)).total == 1
    assert store.counts() == store.counts("ann") == {"pending": 1}
    again = replace(task(1, digest="d"), owner="ann")
    answers = [store.insert([new])[0].answer for new in (again, replace(again, owner="bob"), task(1))]
    assert answers == ["repeated", "conflict", "conflict"]
    assert store.amend(id, NOW, "", priority=1) is None
    assert store.read([id]) == []


def test_a_scan_knows_the_isolation_that_a_task_demands(store: Any) -> None:
    store.insert([task(1, isolation=Isolation.STRICT)])
    assert store.scan_queue((0.0, ""), 10)[0].demand.isolation == Isolation.STRICT
