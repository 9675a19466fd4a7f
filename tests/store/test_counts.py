"""How many tasks there are: exactly, and at once where there are many."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from typing import Any

import pytest
from store.samples import assign, finish, task, task_id
from wait import wait_until

from khala.core.commands import SearchTasks, TaskCounts
from khala.errors import Unavailable
from khala.store.mongo import background
from khala.store.mongo.background import Background
from khala.store.mongo.store import MongoStore


def filled(store: Any) -> Any:
    """Ten tasks: six of me, of which four are over and one is assigned; four of you, one of them purged."""
    tasks = [
        replace(task(number, user=number % 2), owner="me" if number < 6 else "you") for number in range(10)
    ]
    store.insert(tasks)
    epoch = store.take_epoch("a")
    store.commit(epoch, [finish(each, epoch) for each in (*tasks[:4], *tasks[6:8])])
    store.commit(epoch, [assign(tasks[4], epoch)])
    store.purge(task_id(7), 1.0)
    return store


OF_ALL = {"succeeded": 5, "assigned": 1, "pending": 3}
OF_ME = {"succeeded": 4, "assigned": 1, "pending": 1}


def test_few_are_counted_at_once(store: Any) -> None:
    counted = filled(store)
    assert counted.counts() == OF_ALL and counted.counts("me") == OF_ME
    assert counted.counts_at_once() == TaskCounts(counts=OF_ALL)
    assert counted.counts_at_once("me") == TaskCounts(counts=OF_ME)
    assert counted.counts_at_once("nobody") == TaskCounts(counts={})
    page = counted.search(SearchTasks(count_total=True, user=1))
    assert (page.total, page.at_least) == (4, False)


@pytest.fixture
def many(mongo_store: MongoStore, monkeypatch: pytest.MonkeyPatch) -> MongoStore:
    """A store that remembers what is more than five tasks, and counts nothing a second time by itself."""
    monkeypatch.setattr(background, "REST", 1e9)
    filled(mongo_store)
    mongo_store.many = 5
    return mongo_store


def known(store: MongoStore, owner: str | None = None) -> TaskCounts:
    """The counts, once they have been counted in the background."""
    wait_until(lambda: not store.counts_at_once(owner).at_least, what="a count")
    return store.counts_at_once(owner)


def test_many_are_at_least_so_many_until_they_are_counted(many: MongoStore) -> None:
    first = many.counts_at_once()
    assert first.at_least and all(first.counts.get(state, 0) <= n for state, n in OF_ALL.items())
    later = known(many)
    assert later.counts == OF_ALL and later.counted_at > 0


def test_of_many_what_is_open_is_counted_at_once_and_nothing_twice(many: MongoStore) -> None:
    before = known(many)
    many.insert([task(20)])
    assert many.counts_at_once().counts == OF_ALL | {"pending": 4}
    (assigned,) = many.read([task_id(4)])
    epoch = many.take_epoch("b")
    many.commit(epoch, [finish(assigned, epoch)])
    assert many.counts_at_once() == replace(before, counts={"succeeded": 5, "pending": 4})
    many.insert([task(number) for number in range(30, 40)])
    assert many.counts_at_once() == before, "so many are open that these are remembered too"


def test_each_owner_is_remembered_apart_and_few_are_exact_again(many: MongoStore) -> None:
    assert known(many, "me").counts == OF_ME
    assert many.counts_at_once("you") == TaskCounts(counts={"succeeded": 1, "pending": 2})
    many.many = 6
    assert many.counts_at_once("me") == TaskCounts(counts=OF_ME)


def test_the_total_of_a_search_is_remembered_by_what_it_looks_for(many: MongoStore) -> None:
    many.many = 2
    odd = SearchTasks(count_total=True, user=1, limit=1)
    first = many.search(odd)
    assert first.at_least and 1 <= first.total <= 4
    wait_until(lambda: not many.search(odd).at_least, what="a count")
    assert (
        many.search(replace(odd, offset=1)).total == many.search(replace(odd, oldest_first=True)).total == 4
    )
    assert many.search(replace(odd, user=7)).total == 0
    many.insert([task(21, user=1)])
    assert (many.search(odd).total, many.search(replace(odd, created_before=-1.0)).total) == (4, 0)
    assert many.search(replace(odd, offset=4)).total == 5, "what is shown is there"


def test_a_total_that_no_index_answers_looks_at_few(many: MongoStore) -> None:
    mine = SearchTasks(count_total=True, owner="me", user=1, limit=10)
    assert (many.search(mine).total, many.search(mine).at_least) == (3, False)
    many.looks_at_most = 2
    first = many.search(mine)
    assert (first.total, first.at_least) == (3, True), "the page itself shows them"
    wait_until(lambda: not many.search(mine).at_least, what="a count")
    assert many.search(mine).total == 3


def test_a_count_that_fails_leaves_the_one_before_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "REST", 0.0)
    counts: Background[int] = Background()
    answers: list[int | Unavailable] = [1, Unavailable("not now"), 2]

    def count() -> int:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    def latest() -> int | None:
        found = counts.latest("key", count)
        return found and found[0]

    seen = [latest()]

    def new() -> bool:
        seen.append(latest())
        return seen[-1] == 2

    wait_until(new, what="the count after the one that failed")
    counts.close()
    told = [each for each, _ in itertools.groupby(seen)]
    assert told in ([None, 1, 2], [None, 2]), "never back to None, and nothing of the failure"
    assert counts.remembered("key")[0] == 2  # type: ignore[index]


def test_one_count_at_a_time_and_few_of_them_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "MOST_WAITING", 2)
    counts: Background[int] = Background()
    goes_on, begun = threading.Event(), []

    def count(key: int) -> int:
        begun.append(key)
        goes_on.wait()
        return key

    for key in (0, 0, 1, 2, 3):
        assert counts.latest(key, lambda key=key: count(key)) is None
    goes_on.set()
    wait_until(lambda: counts.remembered(1), what="the last of them")
    assert begun == [0, 1] and counts.remembered(2) is None
    counts.close()
