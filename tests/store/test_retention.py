"""The contract of removing what is over: listed first, removed in any order, and safe to do again."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import replace
from typing import Any

from bson import ObjectId
from store.samples import assign, change, commit_one, one, result, rich_task, task, task_id
from store.test_jobs import VALUES, expanded, job, settle
from wait import wait_until

from khala.core.commands import SearchTasks
from khala.core.output import OutputChunk, StreamKey
from khala.core.retention import DueJob, DueTask, FilePage, FileUse, FinishedTask, Standing
from khala.core.task import Archive, Command, Epoch, State, Task
from khala.store.mongo.schema import CHUNKS
from khala.store.mongo.store import MongoStore

FAR = 1e9


def ended(store: Any, number: int, at: float, *, purge_at: float | None = None, **spec: Any) -> Task:
    """A task with some output that ended `at`."""
    made = task(number, digest="d", **spec)
    store.insert([made])
    store.put_output([OutputChunk(key=stream(made.id), offset=0, data=b"some")])
    epoch: Epoch = store.take_epoch("j1")
    end = change(made, State.SUCCEEDED, epoch=epoch, finished_at=at)
    return commit_one(store, epoch, replace(end, purge_at=purge_at))


def stream(id: str) -> StreamKey:
    return StreamKey(task_id=id, attempt=1, phase="execute", stream="stdout")


def due(store: Any, at: float) -> list[tuple[int, str]]:
    return [(int(each.task_id, 16), each.standing.value) for each in store.due_tasks(at, 100)]


def test_what_has_ended_is_walked_by_age(store: Any) -> None:
    ended(store, 1, 5.0, ttl_after_finished_s=3.0)
    ended(store, 2, 6.0)
    ended(store, 3, 7.0)
    store.insert([task(4)])
    found = store.finished_tasks(State.SUCCEEDED, (0.0, ""), 3.0, 10)
    assert list(found) == [
        FinishedTask(task_id=task_id(1), created_at=1.0, finished_at=5.0, ttl_s=3.0),
        FinishedTask(task_id=task_id(2), created_at=2.0, finished_at=6.0),
    ]
    rest = store.finished_tasks(State.SUCCEEDED, (1.0, task_id(1)), FAR, 1)
    assert [each.task_id for each in rest] == [task_id(2)]
    assert not store.finished_tasks(State.FAILED, (0.0, ""), FAR, 10)
    assert not store.finished_tasks(State.SUCCEEDED, (9.0, ""), 3.0, 10)


def test_a_task_with_a_time_of_its_own_is_due_then(store: Any) -> None:
    ended(store, 1, 5.0, purge_at=50.0)
    ended(store, 2, 5.0, purge_at=40.0)
    ended(store, 3, 5.0)
    assert due(store, 39.0) == []
    assert due(store, 60.0) == [(2, "finished"), (1, "finished")]
    assert len(store.due_tasks(60.0, 1)) == 1


def test_a_change_that_missed_lists_nothing(store: Any) -> None:
    made = task(1)
    store.insert([made])
    epoch = store.take_epoch("j1")
    late = change(replace(made, control=replace(made.control, rev=7)), State.SUCCEEDED, epoch=epoch)
    (answer,) = store.commit(epoch, [replace(late, purge_at=1.0)])
    assert not answer.applied and due(store, FAR) == []


def test_what_is_expired_keeps_a_time_that_it_has(store: Any) -> None:
    ended(store, 1, 5.0, purge_at=50.0)
    ended(store, 2, 5.0)
    store.expire(10.0, tasks=[task_id(1), task_id(2)])
    assert due(store, 20.0) == [(2, "finished")]
    store.look_again(tasks={task_id(2): 70.0, task_id(9): 1.0})
    assert due(store, 60.0) == [(1, "finished")]


def test_a_purge_leaves_a_tombstone_and_no_output(store: Any) -> None:
    ended(store, 1, 5.0)
    ended(store, 2, 5.0)
    store.insert([task(3)])
    store.put_output([OutputChunk(key=stream(task_id(3)), offset=0, data=b"kept")])
    store.purge_tasks([task_id(1), task_id(3)], 10.0, 30.0)
    store.purge_tasks([task_id(1)], 12.0, 30.0)
    assert [each.id for each in store.read([task_id(1), task_id(2), task_id(3)])] == [task_id(2), task_id(3)]
    assert [store.read_output(stream(task_id(n)), 0, 9) for n in (1, 2, 3)] == [b"", b"some", b"kept"]
    assert dict(store.standings([task_id(1)])) == {task_id(1): State.SUCCEEDED}
    assert [each.answer for each in store.insert([task(1, digest="d"), task(1, digest="e")])] == [
        "repeated",
        "conflict",
    ]
    assert store.search(SearchTasks(count_total=True)).total == 2
    assert list(store.due_tasks(30.0, 1)) == [
        DueTask(task_id=task_id(1), standing=Standing.PURGED, purged_at=10.0)
    ]
    assert due(store, 29.0) == []


def test_a_purge_by_hand_is_due_at_once_so_that_its_key_is_forgotten_too(store: Any) -> None:
    ended(store, 1, 5.0, purge_at=FAR)
    assert store.purge(task_id(1), 7.0, "you") is None and due(store, 8.0) == []
    assert store.purge(task_id(1), 7.0, "me").id == task_id(1)
    assert store.purge(task_id(1), 7.0) is None
    assert due(store, 8.0) == [(1, "purged")]
    assert store.read_output(stream(task_id(1)), 0, 9) == b""


def test_a_forgotten_key_makes_a_new_task(store: Any) -> None:
    ended(store, 1, 5.0)
    store.purge_tasks([task_id(1)], 10.0, 20.0)
    store.put_output([OutputChunk(key=stream(task_id(1)), offset=0, data=b"late")])
    gone = DueTask(task_id=task_id(2), standing=Standing.GONE)
    store.expire(1.0, tasks=[task_id(2)])
    store.forget_tasks([*store.due_tasks(20.0, 1), gone])
    store.forget_tasks([*store.due_tasks(20.0, 1), gone])
    assert due(store, FAR) == [] and not store.standings([task_id(1)])
    assert store.read_output(stream(task_id(1)), 0, 9) == b""
    assert store.insert([task(1, digest="other")])[0].answer == "created"


def test_what_others_came_to_wait_for_is_not_forgotten(store: Any) -> None:
    ended(store, 1, 5.0)
    store.purge_tasks([task_id(1)], 10.0, 20.0)
    (seen,) = store.due_tasks(20.0, 1)
    assert dict(store.standings([task_id(1)], "you", needed_at=21.0)) == {}
    assert dict(store.standings([task_id(1)], "me", needed_at=21.0)) == {task_id(1): State.SUCCEEDED}
    assert dict(store.standings([task_id(1)], needed_at=3.0)) == {task_id(1): State.SUCCEEDED}
    store.forget_tasks([seen])
    assert dict(store.standings([task_id(1)])) == {task_id(1): State.SUCCEEDED}
    (again,) = store.due_tasks(22.0, 1)
    assert again.purged_at == 21.0
    store.forget_tasks([again])
    assert not store.standings([task_id(1)]) and due(store, FAR) == []


def test_the_oldest_that_is_open_is_a_task_or_a_job(store: Any) -> None:
    assert store.oldest_open() == math.inf
    ended(store, 1, 5.0)
    store.insert([task(6), task(9)])
    assert store.oldest_open() == 6.0
    store.insert_job(job(4))
    assert store.oldest_open() == 4.0
    store.finish_job(job(4).id, 5.0)
    assert store.oldest_open() == 6.0


def test_a_finished_job_goes_after_its_tasks_and_their_tombstones(store: Any) -> None:
    made = job(1)
    store.insert_job(made)
    tasks = expanded(store, made)
    ids = [each.id for each in tasks]
    settle(store, tasks[1:], State.FAILED)
    store.expire(1.0, jobs=[made.id, "0" * 24])
    unknown = DueJob(job_id="0" * 24, standing=Standing.GONE)
    assert {each.job_id: each for each in store.due_jobs(2.0, 9, 9)} == {
        made.id: DueJob(job_id=made.id, standing=Standing.OPEN),
        unknown.job_id: unknown,
    }
    store.forget_job(made.id)
    store.forget_job(unknown.job_id)
    assert [each.id for each in store.jobs([made.id])] == [made.id]
    settle(store, tasks[:1], State.FAILED)
    store.finish_job(made.id, 9.0)
    assert store.finished_jobs((0.0, ""), 10.0, 9) == [(9.0, made.id)]
    assert not store.finished_jobs((9.0, made.id), 10.0, 9) and not store.finished_jobs((0.0, ""), 9.0, 9)
    store.expire(1.0, jobs=[made.id])
    (found,) = store.due_jobs(2.0, 9, 3)
    assert (found.standing, set(found.tasks) < set(ids), len(found.tasks)) == ("finished", True, 3)
    store.purge_tasks(ids, 10.0, 20.0)
    assert store.due_jobs(2.0, 9, 9) == [DueJob(job_id=made.id, standing=Standing.FINISHED, has_left=True)]
    store.forget_tasks([DueTask(task_id=id, standing=Standing.PURGED, purged_at=10.0) for id in ids])
    assert store.jobs([made.id])[0].counts == {"failed": len(VALUES)}
    store.forget_job(made.id)
    assert not store.jobs([made.id]) and not store.due_jobs(FAR, 9, 9)


def test_a_job_with_a_time_of_its_own_is_due_after_its_end(store: Any) -> None:
    made = job(1)
    assert made.template is not None
    store.insert_job(replace(made, template=replace(made.template, ttl_after_finished_s=6.0), total=0))
    store.finish_job(made.id, 9.0)
    store.finish_job(made.id, 11.0)
    assert not store.due_jobs(14.0, 9, 9)
    assert [each.job_id for each in store.due_jobs(15.0, 9, 9)] == [made.id]


def test_output_of_tasks_that_are_gone_is_swept(store: Any) -> None:
    for number in (1, 2, 3, 4):
        ended(store, number, 5.0)
    store.purge_tasks([task_id(2), task_id(4)], 10.0, 20.0)
    for number in (2, 4, 5):
        store.put_output([OutputChunk(key=stream(task_id(number)), offset=0, data=b"late")])
    after = store.sweep_outputs("", 2)
    assert after == task_id(2)
    after = store.sweep_outputs(after, 2)
    assert store.sweep_outputs(after, 2) == ""
    left = [store.read_output(stream(task_id(number)), 0, 9) for number in (1, 2, 3, 4, 5)]
    assert left == [b"some", b"", b"some", b"", b""]


def stored_file(store: Any, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    store.put_file(sha256, len(content), iter([content]))
    return sha256


def unused(store: Any) -> dict[str, FileUse]:
    return {use.sha256: use for use in store.files_unused_since(time.time() + 60.0, "", 100)[0]}


def test_a_file_goes_unless_it_was_used_since(store: Any) -> None:
    a, b, c = (stored_file(store, content) for content in (b"1", b"2", b"3"))
    seen = unused(store)
    assert set(seen) == {a, b, c}
    first, after = store.files_unused_since(time.time() + 60.0, "", 2)
    rest, end = store.files_unused_since(time.time() + 60.0, after, 2)
    assert ([use.sha256 for use in (*first, *rest)], end) == (sorted(seen), "")
    wait_until(lambda: store.has_file(a) and unused(store)[a] != seen[a], what="another mark")
    store.touch_files([b, "0" * 64])
    stored_file(store, b"3")
    assert [store.drop_file(seen[each]) for each in (a, b, c)] == [False, False, False]
    assert all(store.has_file(each) for each in (a, b, c))
    now = unused(store)
    assert store.drop_file(now[a]) and not store.drop_file(now[a])
    assert not store.has_file(a) and store.read_file(b, 0, 9) == (1, b"2")
    assert store.sweep_uploads(time.time() + 60.0, "", 100) == ""
    assert store.read_file(b, 0, 9) == (1, b"2")


def test_what_tasks_and_jobs_refer_to(store: Any) -> None:
    rich = rich_task(1)
    store.insert([rich, task(2, execute=Command(shell="a", stdin_file="3" * 64)), task(3), task(4)])
    epoch = store.take_epoch("j1")
    commit_one(store, epoch, change(one(store, 3), State.SUCCEEDED, epoch=epoch, result=result()))
    page = store.files_of_tasks((0.0, ""), 2)
    assert page.sha256s == {"0" * 64, "1" * 64, "3" * 64} and page.last == (2.0, task_id(2))
    page = store.files_of_tasks(page.last, 3)
    assert page.sha256s == {"2" * 64} and page.last is None
    made = job(1)
    assert made.template is not None
    template = replace(made.template, archives=(Archive(file_id="a" * 64),))
    store.insert_job(replace(made, template=template, rows_file="b" * 64))
    assert store.files_of_jobs((0.0, ""), 9) == FilePage(sha256s=frozenset({"a" * 64, "b" * 64}), last=None)


def test_the_oldest_that_is_under_way(store: Any) -> None:
    store.insert([task(1), task(2), task(3)])
    assert store.oldest_active() == math.inf
    epoch = store.take_epoch("j1")
    commit_one(store, epoch, assign(one(store, 3), epoch))
    assert store.oldest_active() == 3.0
    commit_one(store, epoch, change(one(store, 2), State.RUNNING, epoch=epoch))
    assert store.oldest_active() == 2.0


def test_a_broken_upload_is_swept_and_a_file_is_not(mongo_store: MongoStore) -> None:
    whole = stored_file(mongo_store, b"whole")
    chunks = mongo_store._connection.collection(CHUNKS)
    for _ in range(3):
        chunks.insert_one({"files_id": ObjectId(), "n": 0, "data": b"broken"})
    assert mongo_store.sweep_uploads(time.time() - 60.0, "", 10) == "" and chunks.count_documents({}) == 4
    after = mongo_store.sweep_uploads(time.time() + 60.0, "", 3)
    assert after and mongo_store.sweep_uploads(time.time() + 60.0, after, 3) == ""
    assert chunks.count_documents({}) == 1 and mongo_store.read_file(whole, 0, 9) == (5, b"whole")


def test_a_file_is_unused_since_its_last_use(mongo_store: MongoStore) -> None:
    stored_file(mongo_store, b"new")
    assert mongo_store.files_unused_since(time.time() - 60.0, "", 10) == ([], "")
