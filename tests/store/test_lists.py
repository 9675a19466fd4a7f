"""The contract of scans and searches."""

from __future__ import annotations

from typing import Any

import pytest
from store.samples import assign, change, commit_one, finish, rich_task, task, task_id

from khala.core.commands import SearchTasks
from khala.core.task import ExitReason, State, demand_of
from khala.errors import Refusal


def ids(page: Any) -> list[int]:
    return [int(each.id, 16) for each in page.tasks]


def search(store: Any, **query: Any) -> list[int]:
    return ids(store.search(SearchTasks(oldest_first=True, **query)))


def test_the_queue_is_scanned_by_age_then_id(store: Any) -> None:
    times = {5: 1.0, 3: 1.0, 4: 1.0, 1: 2.5, 2: 0.5}
    tasks = [task(number, created_at=at) for number, at in times.items()]
    store.insert(tasks)
    whole = store.scan_queue((0.0, ""), 10)
    assert [int(each.task_id, 16) for each in whole] == [2, 3, 4, 5, 1]
    after, seen = (0.0, ""), []
    while page := store.scan_queue(after, 2):
        assert len(page) <= 2
        seen += page
        after = (page[-1].demand.created_at, page[-1].task_id)
    assert seen == list(whole)
    assert list(store.scan_queue((1.0, task_id(4)), 10)) == list(whole)[3:]
    assert list(store.scan_queue((0.0, ""), 0)) == []
    keys = [(each.demand.created_at, each.task_id, each.control.rev) for each in whole]
    assert list(store.scan_queue_keys((1.0, task_id(4)), 10)) == keys[3:]
    assert list(store.scan_queue_keys((0.0, ""), 2)) == keys[:2]


def test_a_scan_tells_control_and_demand(store: Any) -> None:
    before = rich_task(1)
    store.insert([before])
    (queued,) = store.scan_queue((0.0, ""), 10)
    assert (queued.task_id, queued.control, queued.demand) == (before.id, before.control, demand_of(before))


def test_active_tasks_are_scanned_by_id(store: Any) -> None:
    tasks = [task(number, created_at=float(-number)) for number in range(6)]
    store.insert(tasks)
    epoch = store.take_epoch("a")
    states = {0: State.RUNNING, 1: State.ASSIGNED, 2: State.SUCCEEDED, 4: State.RUNNING, 5: State.ASSIGNED}
    store.commit(epoch, [change(tasks[number], state) for number, state in states.items()])
    assert [int(each.task_id, 16) for each in store.scan_active("", 10)] == [0, 1, 4, 5]
    assert [int(each.task_id, 16) for each in store.scan_active(task_id(1), 1)] == [4]
    assert list(store.scan_active(task_id(5), 10)) == []
    assert [each.control.state for each in store.scan_active("", 2)] == [State.RUNNING, State.ASSIGNED]
    assert [int(each.task_id, 16) for each in store.scan_queue((-10.0, ""), 10)] == [3]


def test_cancel_requests_are_scanned_until_their_task_ends(store: Any) -> None:
    tasks = [task(number) for number in range(4)]
    store.insert(tasks)
    epoch = store.take_epoch("a")
    store.request_cancel([each.id for each in tasks[:3]], 1.0)
    assert [int(each.task_id, 16) for each in store.scan_cancels(10)] == [0, 1, 2]
    assert len(store.scan_cancels(2)) == 2
    first = store.read([tasks[0].id])[0]
    assert first.control.cancel_requested
    commit_one(store, epoch, change(first, State.CANCELLED))
    assert [int(each.task_id, 16) for each in store.scan_cancels(10)] == [1, 2]


@pytest.fixture
def mixed(store: Any) -> Any:
    """Ten tasks that differ in everything a search can ask for."""
    tasks = [
        task(
            number,
            created_at=float(number // 2),
            user=number % 3,
            name=f"job.{'a' if number < 4 else 'b'}{number}",
            labels={"team": "blue" if number % 2 else "red"} if number < 6 else {},
        )
        for number in range(10)
    ]
    store.insert(tasks)
    epoch = store.take_epoch("a")
    store.commit(epoch, [assign(each, epoch, executor="e1") for each in tasks[:2]])
    store.commit(epoch, [finish(each, epoch) for each in tasks[2:5]])
    return store


def test_each_filter(mixed: Any) -> None:
    assert search(mixed) == list(range(10))
    assert search(mixed, user=1) == [1, 4, 7]
    assert search(mixed, user=0) == [0, 3, 6, 9]
    assert search(mixed, states=(State.ASSIGNED,)) == [0, 1]
    assert search(mixed, states=(State.ASSIGNED, State.SUCCEEDED)) == [0, 1, 2, 3, 4]
    assert search(mixed, name_prefix="job.a") == [0, 1, 2, 3]
    assert search(mixed, name_prefix="job.b9x") == []
    assert search(mixed, name_prefix=".") == []
    assert search(mixed, executor="e1") == [0, 1]
    assert search(mixed, exit_reason=ExitReason.EXITED.value) == [2, 3, 4]
    assert search(mixed, label="team") == [0, 1, 2, 3, 4, 5]
    assert search(mixed, label="team=blue") == [1, 3, 5]
    assert search(mixed, label="team=") == []
    assert search(mixed, created_after=1.0, created_before=3.0) == [2, 3, 4, 5]
    assert search(mixed, user=1, states=(State.PENDING,), name_prefix="job.b", created_after=1.0) == [7]


@pytest.mark.parametrize("oldest_first", [True, False])
def test_pages_join_up_while_tasks_arrive(mixed: Any, oldest_first: bool) -> None:
    seen, token, arrived = [], "", 100
    while True:
        page = mixed.search(SearchTasks(limit=3, oldest_first=oldest_first, page_token=token))
        seen += ids(page)
        # One arrives behind the reader: before the first, or after the last when newest come first.
        mixed.insert([task(arrived, created_at=-1.0 if oldest_first else 1e6)])
        arrived += 1
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(range(10), reverse=not oldest_first)


def test_offset_limit_and_total(mixed: Any) -> None:
    page = mixed.search(SearchTasks(offset=2, limit=3, count_total=True))
    assert (ids(page), page.total) == ([7, 6, 5], 10)
    following = mixed.search(SearchTasks(limit=3, page_token=page.next_page_token, count_total=True))
    assert (ids(following), following.total) == ([4, 3, 2], 10)
    everything = mixed.search(SearchTasks(limit=0, user=1, count_total=True))
    assert (ids(everything), everything.total, everything.next_page_token) == ([7, 4, 1], 3, "")
    exact = mixed.search(SearchTasks(limit=10))
    assert (len(exact.tasks), exact.next_page_token, exact.total) == (10, "", -1)
    assert ids(mixed.search(SearchTasks(offset=50))) == []


def test_a_search_shows_the_view_that_was_asked(mixed: Any) -> None:
    for view in ("minimal", "basic", "full"):
        (found,) = mixed.search(SearchTasks(view=view, name_prefix="job.a2")).tasks
        assert found == mixed.read([task_id(2)], view)[0]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"page_token": "nonsense"}, "page_token"),
        ({"page_token": "WyJ4IiwgMV0="}, "page_token"),
        ({"page_token": "é"}, "page_token"),
        ({"limit": -1}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"offset": -1}, "offset"),
        ({"view": "huge"}, "view"),
    ],
)
def test_a_malformed_search_is_refused(store: Any, query: dict[str, Any], field: str) -> None:
    with pytest.raises(Refusal) as refusal:
        store.search(SearchTasks(**query))
    assert (refusal.value.code, refusal.value.field) == ("invalid", field)


def test_a_list_without_pages_is_bounded(store: Any) -> None:
    store.insert([task(number) for number in range(1001)])
    assert len(store.search(SearchTasks(limit=0)).tasks) == 1001
    with pytest.raises(Refusal) as refusal:
        store.search(SearchTasks(limit=0, view="full"))
    assert refusal.value.code == "too_large"
