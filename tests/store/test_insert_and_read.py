"""The contract of inserts, reads and views."""

from __future__ import annotations

from typing import Any

import pytest
from store.samples import change, finish, one, result, rich_task, task, task_id

from khala.core.task import Command, Result, State, TaskSpec, Verdict
from khala.errors import Refusal


def test_an_inserted_task_is_read_back_as_it_was(store: Any) -> None:
    (answer,) = store.insert([rich_task(1)])
    assert (answer.task_id, answer.answer) == (task_id(1), "created")
    assert one(store, 1) == rich_task(1)


def test_repeated_means_same_digest_and_conflict_another(store: Any) -> None:
    store.insert([task(1, digest="same"), task(2, digest="same"), task(3)])
    again = [task(1, digest="same", name="new"), task(2, digest="other"), task(3), task(4)]
    assert [each.answer for each in store.insert(again)] == ["repeated", "conflict", "conflict", "created"]
    assert one(store, 1).spec.name == ""


def test_a_batch_that_names_a_task_twice_stores_the_first(store: Any) -> None:
    answers = store.insert([task(1, digest="a"), task(1, digest="a"), task(1, digest="b"), task(2)])
    assert [each.answer for each in answers] == ["created", "repeated", "conflict", "created"]


def test_nothing_is_inserted_or_read_from_nothing(store: Any) -> None:
    assert list(store.insert([])) == []
    assert list(store.read([])) == []
    assert list(store.read([task_id(9)])) == []


def test_a_large_batch_is_one_call(store: Any) -> None:
    content = Command(shell="true", stdin=b"x" * 8_000)
    batch = [task(number, execute=content) for number in range(1000)]
    assert {each.answer for each in store.insert(batch)} == {"created"}
    assert store.counts() == {"pending": 1000}


def test_each_view_holds_what_it_promises(store: Any) -> None:
    before = rich_task(1)
    store.insert([before])
    epoch = store.take_epoch("a")
    store.commit(epoch, [finish(before, epoch)])
    full, basic, minimal = (one(store, 1, view) for view in ("full", "basic", "minimal"))
    assert full.result == result() and full.spec == before.spec
    assert minimal.control == basic.control == full.control
    assert minimal.spec == TaskSpec(name="näme", user=7, labels=before.spec.labels, priority=-3)
    assert minimal.result == Result(verdict=Verdict.WRONG_ANSWER) and minimal.events == ()
    assert basic.result.difference == full.result.difference and basic.result.enforced == ("uid",)
    assert basic.events == full.events and basic.spec.expected_output is None
    assert [each.content for each in basic.spec.inputs] == [b"", b""]
    assert basic.spec.compile is not None and basic.spec.compile.stdin == b""
    assert basic.spec.compile.env == before.spec.compile.env
    stream = basic.result.execute.stdout
    assert (stream.size, stream.head, stream.tail, stream.truncated) == (9, b"", b"", True)


def test_an_unknown_view_is_refused(store: Any) -> None:
    with pytest.raises(Refusal) as refusal:
        store.read([task_id(1)], "huge")
    assert refusal.value.field == "view"


def test_counts_follow_the_states(store: Any) -> None:
    tasks = [task(number) for number in range(3)]
    store.insert(tasks)
    epoch = store.take_epoch("a")
    store.commit(epoch, [change(tasks[0], State.RUNNING), finish(tasks[1], epoch)])
    assert store.counts() == {"pending": 1, "running": 1, "succeeded": 1}
