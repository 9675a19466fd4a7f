"""What only MongoDB can get wrong: plans, sessions, schema versions, crashes, silence."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from store.mongod import Mongod
from store.samples import assert_story_whole, assign, commit_one, one, task, task_id
from wait import wait_until

from khala.core.changes import Change
from khala.core.commands import SearchTasks
from khala.errors import ConfigurationError, OutcomeUnknown, Refusal, StaleEpoch, Unavailable
from khala.store.mongo.store import MongoStore


def stages(plan: Any) -> list[str]:
    """The stages of an explained plan, the outermost first."""
    below = plan.get("inputStages") or ([plan["inputStage"]] if "inputStage" in plan else [])
    return [plan["stage"], *(name for inner in below for name in stages(inner))]


def profiled(store: MongoStore, call: Any, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """What the server's profiler wrote of the operations that `call` made."""
    database = store._connection.client[store._connection.settings.database]
    database["system.profile"].drop()
    database.command("profile", 2)
    call()
    database.command("profile", 0)
    return list(database["system.profile"].find(wanted).sort("ts", 1))


def watched_plans(store: MongoStore, call: Any) -> list[list[str]]:
    """The plans of the finds that `call` makes."""
    return [stages(each["execStats"]) for each in profiled(store, call, {"command.find": "tasks"})]


def test_scans_follow_an_index_and_never_sort_tasks(mongo_store: MongoStore) -> None:
    tasks = [task(number, created_at=1.0) for number in range(200)]
    mongo_store.insert(tasks)
    epoch = mongo_store.take_epoch("a")
    mongo_store.commit(epoch, [assign(each, epoch) for each in tasks[:50]])
    mongo_store.request_cancel([task_id(150)], 1.0)
    scan = {"command.find": "tasks"}
    (queue,) = profiled(mongo_store, lambda: mongo_store.scan_queue((1.0, task_id(60)), 10), scan)
    assert "SORT" not in stages(queue["execStats"]) and queue["keysExamined"] <= 12
    keys, fetched = watched_plans(mongo_store, lambda: mongo_store.scan_active("", 10))
    assert "FETCH" not in keys and "COLLSCAN" not in fetched
    (cancels,) = watched_plans(mongo_store, lambda: mongo_store.scan_cancels(10))
    assert "SORT" not in cancels and "IXSCAN" in cancels


def test_counts_are_read_from_an_index(mongo_store: MongoStore) -> None:
    mongo_store.insert([task(number, user=number % 2) for number in range(100)])
    calls = [
        mongo_store.counts,
        lambda: mongo_store.search(SearchTasks(count_total=True, limit=1)),
        lambda: mongo_store.search(SearchTasks(count_total=True, limit=1, user=1)),
    ]
    for call in calls:
        (count,) = profiled(mongo_store, call, {"command.aggregate": "tasks"})
        assert (count["docsExamined"], count["keysExamined"] >= 50) == (0, True)


def test_a_transaction_abandoned_by_a_paused_leader_does_not_block_the_next(
    mongod: Mongod, mongo_store: MongoStore
) -> None:
    paused = MongoStore(mongo_store._connection.settings)
    mongo_store.insert([task(1), task(2)])
    old = paused.take_epoch("paused")
    inside, go_on = threading.Event(), threading.Event()
    guard = paused._epochs.guard
    stale: list[bool] = []

    def guard_then_pause(*arguments: Any) -> None:
        guard(*arguments)
        if not inside.is_set():
            inside.set()
            assert go_on.wait(120)

    def commit(change: Change) -> None:
        try:
            paused.commit(old, [change])
        except StaleEpoch:
            stale.append(True)

    paused._epochs.guard = guard_then_pause  # type: ignore[method-assign]
    thread = threading.Thread(target=commit, args=(assign(task(1), old),))
    thread.start()
    assert inside.wait(60)
    new = mongo_store.take_epoch("next")
    commit_one(mongo_store, new, assign(task(2), new))
    go_on.set()
    thread.join(120)
    assert stale == [True]
    assert one(mongo_store, 1) == task(1)
    leader = mongo_store._connection.collection("meta").find_one({"_id": "leader"})
    assert leader is not None and (leader["number"], leader["holder"]) == (new.number, "next")
    paused.close()


def test_another_schema_version_is_refused(mongo_store: MongoStore) -> None:
    meta = mongo_store._connection.collection("meta")
    meta.update_one({"_id": "schema"}, {"$set": {"version": 99}})
    with pytest.raises(ConfigurationError, match="99"):
        mongo_store.prepare()


def test_judicators_that_prepare_at_once_agree(mongod: Mongod) -> None:
    stores = [MongoStore(mongod.settings(database="prepared_at_once")) for _ in range(3)]
    threads = [threading.Thread(target=store.prepare) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len({store.cluster_id() for store in stores}) == 1
    stores[0]._connection.client.drop_database("prepared_at_once")
    for store in stores:
        store.close()


def test_an_unprepared_database_says_so(mongod: Mongod) -> None:
    store = MongoStore(mongod.settings(database="never_prepared"))
    with pytest.raises(ConfigurationError, match="prepared"):
        store.cluster_id()
    with pytest.raises(ConfigurationError, match="prepared"):
        store.take_epoch("a")
    store.close()


def test_what_mongodb_cannot_store_is_refused(mongo_store: MongoStore) -> None:
    with pytest.raises(Refusal):
        mongo_store.insert([task(1, labels={"nul\0": "x"})])
    with pytest.raises(Refusal):
        mongo_store.insert([task(1, priority=1 << 70)])
    assert mongo_store.counts() == {}


@pytest.fixture
def own_mongod(tmp_path: Path) -> Iterator[Mongod]:
    """A server that the test may kill."""
    server = Mongod(tmp_path)
    try:
        server.start()
        server.initiate()
        yield server
    finally:
        server.discard()


def test_a_killed_server_loses_nothing_that_was_acknowledged(own_mongod: Mongod) -> None:
    store = MongoStore(own_mongod.settings())
    store.prepare()
    epoch = store.take_epoch("a")
    stored: set[str] = set()
    assigned: set[str] = set()
    unsure: list[str] = []
    stop = threading.Event()

    def load() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            new = task(number, digest="d")
            try:
                store.insert([new])
                stored.add(new.id)
                (answer,) = store.commit(epoch, [assign(new, epoch)])
                assert answer.applied
                assigned.add(new.id)
            except Unavailable:
                unsure.append(new.id)
                stop.wait(0.05)

    thread = threading.Thread(target=load)
    thread.start()
    wait_until(lambda: len(assigned) > 20, what="some load")
    own_mongod.stop(signal.SIGKILL)
    before = len(assigned)
    own_mongod.start()
    wait_until(lambda: len(assigned) > before + 5, what="load after the restart")
    stop.set()
    thread.join(120)
    found = {each.id: each for each in store.read(sorted(stored | set(unsure)))}
    assert stored <= set(found)
    assert all(found[each].control.attempt == 1 for each in assigned)
    for each in found.values():
        assert_story_whole(each)
    store.close()


@pytest.mark.slow
def test_a_silent_server_is_unavailable_in_time(own_mongod: Mongod) -> None:
    store = MongoStore(own_mongod.settings())
    store.prepare()
    store.insert([task(1)])
    epoch = store.take_epoch("a")
    answers: dict[str, tuple[type[BaseException], float]] = {}

    def ask(name: str, call: Any) -> None:
        began = time.monotonic()
        try:
            call()
        except Unavailable as error:
            answers[name] = (type(error), time.monotonic() - began)

    calls = {
        "insert": lambda: store.insert([task(2)]),
        "commit": lambda: store.commit(epoch, [assign(task(1), epoch)]),
        "read": lambda: store.read([task_id(1)]),
        "take_epoch": lambda: store.take_epoch("b"),
        "has_file": lambda: store.has_file("0" * 64),
    }
    own_mongod.send(signal.SIGSTOP)
    threads = [threading.Thread(target=ask, args=each) for each in calls.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    own_mongod.send(signal.SIGCONT)
    assert set(answers) == set(calls)
    within_s = 4 * store._connection.settings.timeout_s
    slow = {name: took_s for name, (_, took_s) in answers.items() if took_s > within_s}
    assert not slow
    assert answers["read"][0] is Unavailable
    assert answers["insert"][0] in (OutcomeUnknown, Unavailable)
    wait_until(lambda: _answers(store), what="the server to answer again")
    store.close()


def _answers(store: MongoStore) -> bool:
    try:
        return bool(store.read([task_id(1)]))
    except Unavailable:
        return False


def test_the_outputs_are_there_before_the_first_one(mongo_store: MongoStore) -> None:
    """A backup lists the collections first; one that came later would be missing from it."""
    connection = mongo_store._connection
    names = connection.client[connection.settings.database].list_collection_names()
    assert "outputs" in names
