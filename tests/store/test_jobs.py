"""Jobs in the store: once each, in order, with counts from their tasks, and finished once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from store.samples import change, task, task_id

from khala.core.commands import SearchTasks
from khala.core.jobs import Job, SearchJobs
from khala.core.sweeps import Rows, make_task, task_id_of
from khala.core.task import Command, Epoch, State, Task, TaskSpec
from khala.errors import Refusal

VALUES = [["a"], ["b"], ["c"], ["d"]]


def job(number: int, *, owner: str = "me", digest: str = "d") -> Job:
    return Job(
        id=f"{number:08x}{'ab' * 8}",
        template=TaskSpec(name="{x}", execute=Command(argv=("echo", "{x}"), stdin=b"\x00")),
        rows_file="0" * 64,
        total=len(VALUES),
        names=("x",),
        owner=owner,
        created_at=float(number),
        request_digest=digest,
        max_failures=2,
    )


def expanded(store: Any, made: Job) -> list[Task]:
    tasks = [make_task(made, Rows(values=VALUES), place) for place in range(len(VALUES))]
    assert {answer.answer for answer in store.insert(tasks)} <= {"created", "repeated"}
    store.advance_job(made.id, len(VALUES))
    return tasks


def settle(store: Any, tasks: list[Task], state: State) -> Epoch:
    epoch = store.take_epoch("j1")
    answers = store.commit(epoch, [change(each, state, epoch=epoch) for each in tasks])
    assert all(answer.applied for answer in answers)
    return epoch


def test_a_job_is_stored_once(store: Any) -> None:
    made = job(1)
    assert store.insert_job(made) == "created"
    assert store.insert_job(replace(made, name="another")) == "repeated"
    assert store.insert_job(replace(made, request_digest="e")) == "conflict"
    assert store.insert_job(replace(made, owner="you")) == "conflict"
    assert store.jobs([job(2).id, made.id]) == [made]


def test_counts_follow_the_tasks_and_stay_when_it_is_finished(store: Any) -> None:
    made = job(1)
    store.insert_job(made)
    assert dict(store.jobs([made.id])[0].counts) == {}
    tasks = expanded(store, made)
    expanded(store, made)
    store.insert([task(7, created_at=1.0)])
    assert dict(store.jobs([made.id])[0].counts) == {"pending": 4}
    settle(store, tasks[:3], State.SUCCEEDED)
    settle(store, tasks[3:], State.FAILED)
    store.finish_job(made.id, 9.0)
    store.finish_job(made.id, 10.0)
    (found,) = store.jobs([made.id])
    assert (found.finished_at, dict(found.counts)) == (9.0, {"succeeded": 3, "failed": 1})
    assert found.created == 4
    store.purge(tasks[0].id, 11.0)
    assert dict(store.jobs([made.id])[0].counts) == {"succeeded": 3, "failed": 1}


def test_open_jobs_are_read_by_age_until_they_are_finished(store: Any) -> None:
    for number in (3, 1, 2):
        store.insert_job(job(number))
    store.finish_job(job(2).id, 5.0)
    assert [each.id for each in store.open_jobs((0.0, ""), 10)] == [job(1).id, job(3).id]
    assert [each.id for each in store.open_jobs((1.0, job(1).id), 10)] == [job(3).id]
    assert len(store.open_jobs((0.0, ""), 1)) == 1
    assert store.open_jobs((0.0, ""), 1)[0].template == job(1).template


def test_how_far_a_job_is_never_goes_back(store: Any) -> None:
    store.insert_job(job(1))
    store.advance_job(job(1).id, 3)
    assert store.advance_job(job(1).id, 2).created == 3
    assert store.advance_job(job(2).id, 2) is None
    assert store.jobs([job(1).id])[0].created == 3


def test_a_cancel_is_noted_once_and_only_for_its_owner(store: Any) -> None:
    store.insert_job(job(1))
    assert store.request_job_cancel(job(1).id, "why", "you") is None
    assert store.request_job_cancel("0" * 24, "why") is None
    assert store.request_job_cancel(job(1).id, "why", "me").reason == "why"
    assert store.request_job_cancel(job(1).id, "again").reason == "why"
    store.insert_job(job(2))
    store.finish_job(job(2).id, 3.0)
    assert not store.request_job_cancel(job(2).id, "late").cancel_requested


def test_its_tasks_by_state_and_those_that_nobody_cancelled(store: Any) -> None:
    made = job(1)
    store.insert_job(made)
    tasks = expanded(store, made)
    settle(store, tasks[:1], State.FAILED)
    store.request_cancel([tasks[1].id], 2.0)
    assert store.job_tasks(made, [State.FAILED], 10) == [tasks[0].id]
    pending = store.job_tasks(made, [State.PENDING], 2)
    assert pending == [tasks[1].id, tasks[2].id]
    assert store.job_tasks(made, [State.PENDING], 10, pending[-1]) == [tasks[3].id]
    assert sorted(store.job_uncancelled(made, 10)) == [tasks[2].id, tasks[3].id]
    assert len(store.job_uncancelled(made, 1)) == 1


def test_jobs_are_listed_page_by_page(store: Any) -> None:
    for number in range(1, 6):
        store.insert_job(job(number, owner="me" if number % 2 else "you"))
    page = store.search_jobs(SearchJobs(limit=2))
    assert [each.created_at for each in page.jobs] == [5.0, 4.0] and page.jobs[0].template is None
    page = store.search_jobs(SearchJobs(limit=3, page_token=page.next_page_token))
    assert [each.created_at for each in page.jobs] == [3.0, 2.0, 1.0] and not page.next_page_token
    mine = store.search_jobs(SearchJobs(owner="you"))
    assert [each.created_at for each in mine.jobs] == [4.0, 2.0]
    with pytest.raises(Refusal, match="page_token"):
        store.search_jobs(SearchJobs(page_token="x"))
    with pytest.raises(Refusal, match="limit"):
        store.search_jobs(SearchJobs(limit=0))


def test_tasks_are_listed_by_their_job(store: Any) -> None:
    made = job(1)
    store.insert_job(made)
    tasks = expanded(store, made)
    store.insert([task(1), replace(task(2, created_at=1.0), id=task_id_of(made.id, 50))])
    page = store.search(SearchTasks(job_id=made.id, oldest_first=True, limit=3, count_total=True))
    assert [found.id for found in page.tasks] == [each.id for each in tasks[:3]]
    assert page.total == 4 and [found.job_index for found in page.tasks] == [0, 1, 2]
    rest = store.search(SearchTasks(job_id=made.id, oldest_first=True, page_token=page.next_page_token))
    assert [(found.id, found.job_id, found.spec.name) for found in rest.tasks] == [
        (tasks[3].id, made.id, "d")
    ]
    settle(store, tasks[1:2], State.FAILED)
    failed = store.search(SearchTasks(job_id=made.id, states=(State.FAILED,)))
    assert [found.id for found in failed.tasks] == [tasks[1].id]
    assert not store.search(SearchTasks(job_id=made.id, owner="you")).tasks
    assert not store.search(SearchTasks(job_id=task_id(9))).tasks
