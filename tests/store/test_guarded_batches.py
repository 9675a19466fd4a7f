"""The contract of epochs, guarded batches and cancel requests (P1, P2, P4, P5)."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from store.samples import assert_story_whole, assign, change, commit_one, finish, one, result, task, task_id

from khala.core.task import Epoch, Isolation, OnDisconnect, Resources, State, demand_of
from khala.errors import Fault, StaleEpoch


def test_epochs_strictly_increase(store: Any) -> None:
    epochs = [store.take_epoch(name) for name in ("a", "b", "a")]
    assert epochs == sorted(set(epochs))
    assert {epoch.generation for epoch in epochs} == {1}


def test_a_store_keeps_its_first_generation(store: Any) -> None:
    before = store.take_epoch("a")
    store.prepare(first_generation=before.generation + 5)
    assert store.take_epoch("a").generation == before.generation


def test_a_change_that_fits_is_applied_with_its_event_and_result(store: Any) -> None:
    before = task(1)
    store.insert([before])
    epoch = store.take_epoch("a")
    assigned = commit_one(store, epoch, assign(before, epoch))
    done = finish(assigned, epoch)
    after = commit_one(store, epoch, done)
    assert after == replace(
        before,
        control=done.control,
        result=result(),
        events=(assign(before, epoch).event, done.event),
    )


def test_a_miss_shows_the_task_as_it_is(store: Any) -> None:
    before = task(1)
    store.insert([before])
    epoch = store.take_epoch("a")
    assigned = commit_one(store, epoch, assign(before, epoch))
    (answer,) = store.commit(epoch, [assign(before, epoch, executor="e2", want=True)])
    assert not answer.applied
    assert answer.current == assigned
    (unknown,) = store.commit(epoch, [assign(task(2), epoch)])
    assert (unknown.applied, unknown.current) == (False, None)


def test_a_mixed_batch_applies_what_fits_and_answers_in_order(store: Any) -> None:
    tasks = [task(number, name=f"n{number}") for number in range(4)]
    store.insert(tasks)
    epoch = store.take_epoch("a")
    gone = commit_one(store, epoch, assign(tasks[1], epoch))
    batch = [
        assign(tasks[3], epoch, want=True),
        assign(tasks[1], epoch),
        assign(tasks[0], epoch),
        assign(task(9), epoch),
    ]
    answers = store.commit(epoch, batch)
    assert [each.applied for each in answers] == [True, False, True, False]
    assert [each.task_id for each in answers] == [each.task_id for each in batch]
    assert [each.spec for each in answers] == [tasks[3].spec, None, None, None]
    assert one(store, 3).control == batch[0].control
    assert answers[1].current == gone
    assert [answers[place].current for place in (0, 2, 3)] == [None, None, None]


def test_equal_changes_of_many_tasks_apply_to_each(store: Any) -> None:
    tasks = [task(number) for number in range(9)]
    store.insert(tasks)
    epoch = store.take_epoch("a")
    batch = [assign(each, epoch, executor=f"e{number % 2}") for number, each in enumerate(tasks)]
    batch[4:4] = [finish(replace(tasks[4], control=batch[4].control), epoch)]
    answers = store.commit(epoch, batch)
    assert [each.applied for each in answers] == [place != 4 for place in range(10)]
    for written, answer in zip(batch, answers, strict=True):
        stored = next(each for each in store.read([written.task_id]))
        assert_story_whole(stored)
        assert (stored.control == written.control) == answer.applied


def test_changes_of_one_task_in_a_batch_apply_in_order(store: Any) -> None:
    before = task(1)
    store.insert([before])
    epoch = store.take_epoch("a")
    first = assign(before, epoch)
    second = finish(replace(before, control=first.control), epoch)
    answers = store.commit(epoch, [first, second, first])
    assert [each.applied for each in answers] == [True, True, False]
    assert one(store, 1).control == second.control
    assert_story_whole(one(store, 1))


def test_a_stale_epoch_writes_nothing_at_all(store: Any) -> None:
    tasks = [task(number) for number in range(3)]
    store.insert(tasks)
    paused = store.take_epoch("a")
    leader = store.take_epoch("b")
    touched = commit_one(store, leader, assign(tasks[0], leader))
    # P1: also on documents that the new leader has not touched.
    with pytest.raises(StaleEpoch):
        store.commit(paused, [assign(each, paused) for each in tasks])
    assert list(store.read([each.id for each in tasks])) == [touched, tasks[1], tasks[2]]
    with pytest.raises(StaleEpoch):
        store.commit(paused, [])
    with pytest.raises(StaleEpoch):
        store.commit(Epoch(leader.generation + 1, leader.number), [assign(tasks[1], leader)])
    assert list(store.commit(leader, [])) == []


def test_a_change_that_would_leave_a_gap_is_a_bug(store: Any) -> None:
    before = task(1)
    store.insert([before])
    epoch = store.take_epoch("a")
    good = assign(before, epoch)
    with pytest.raises(Fault):
        store.commit(epoch, [replace(good, control=replace(good.control, rev=7))])
    assert one(store, 1) == before


def test_a_cancel_request_tells_what_placement_needs(store: Any) -> None:
    spec = replace(
        task(0).spec,
        resources=Resources(cpus=3.5, memory_bytes=7),
        constraints={"disk": "fast"},
        max_attempts=2,
        on_disconnect=OnDisconnect.STOP,
        isolation=Isolation.STRICT,
    )
    store.insert([asked := replace(task(0), spec=spec)])
    (answer,) = store.request_cancel([asked.id], 77.5)
    assert demand_of(answer) == demand_of(asked)
    assert answer.spec.execute is None


def test_a_cancel_request_is_a_change_of_its_own(store: Any) -> None:
    tasks = [task(number) for number in range(3)]
    store.insert(tasks)
    epoch = store.take_epoch("a")
    commit_one(store, epoch, finish(tasks[1], epoch))
    running = commit_one(store, epoch, change(tasks[2], State.RUNNING, executor="e1", attempt=1))
    ids = [task_id(2), task_id(1), task_id(7), task_id(0), task_id(2)]
    answers = store.request_cancel(ids, 77.5)
    assert [each.id for each in answers] == [task_id(2), task_id(1), task_id(0)]
    assert [each.control.cancel_requested for each in answers] == [True, False, True]
    assert answers[1].control.state == State.SUCCEEDED
    assert answers[0].events == () and answers[0].result is None
    found = one(store, 2)
    assert found.control == replace(running.control, rev=3, cancel_requested=True)
    event = found.events[-1]
    assert (event.rev, event.kind, event.at) == (3, "cancel_requested", 77.5)
    assert (event.from_state, event.to_state) == (State.RUNNING, State.RUNNING)
    assert (event.attempt, event.executor, event.epoch) == (1, "e1", Epoch())
    # Again: the same answer, and nothing changes.
    assert list(store.request_cancel(ids, 99.0)) == list(answers)
    assert one(store, 2) == found
    (missed,) = store.commit(epoch, [finish(running, epoch)])
    assert not missed.applied and missed.current.control.cancel_requested
    assert_story_whole(commit_one(store, epoch, change(found, State.CANCELLED)))


def test_two_threads_never_both_apply_the_same_step(store: Any) -> None:
    tasks = [task(number) for number in range(40)]
    store.insert(tasks)
    epoch = store.take_epoch("a")
    answers: dict[str, list[bool]] = {}

    def assign_all(executor: str) -> None:
        batches = [tasks[begin : begin + 10] for begin in range(0, 40, 10)]
        answers[executor] = [
            each.applied
            for batch in batches
            for each in store.commit(epoch, [assign(before, epoch, executor=executor) for before in batch])
        ]

    _together(*(threading.Thread(target=assign_all, args=(name,)) for name in ("e1", "e2")))
    for before, first, second in zip(tasks, answers["e1"], answers["e2"], strict=True):
        found = store.read([before.id])[0]
        assert first != second
        assert found.control.executor == ("e1" if first else "e2")
        assert_story_whole(found)


def test_a_commit_that_races_a_cancel_ends_consistent(store: Any) -> None:
    tasks = [task(number) for number in range(60)]
    store.insert(tasks)
    epoch = store.take_epoch("a")
    applied: list[bool] = []

    def assign_all() -> None:
        for begin in range(0, 60, 20):
            batch = [assign(before, epoch) for before in tasks[begin : begin + 20]]
            applied.extend(each.applied for each in store.commit(epoch, batch))

    def cancel_all() -> None:
        for before in reversed(tasks):
            store.request_cancel([before.id], 1.0)

    _together(threading.Thread(target=assign_all), threading.Thread(target=cancel_all))
    assert len(applied) == 60
    for before, was_assigned in zip(tasks, applied, strict=True):
        found = store.read([before.id])[0]
        assert found.control.cancel_requested
        assert found.control.state == (State.ASSIGNED if was_assigned else State.PENDING)
        assert found.control.rev == 2 + was_assigned
        assert_story_whole(found)


def _together(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
