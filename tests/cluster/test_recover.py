"""`khala judicator --recover` on one of three whose other two are lost for good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cluster.places import SECRET, Place, running
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError
from store.samples import assign, commit_one, one, task, task_id
from wait import wait_until

from khala.coordination.etcd_auth import secure
from khala.node.native import etcd_server, mongod_address, own_etcd
from khala.store.mongo.client import login
from khala.store.mongo.replica_set import initiate_replica_set
from khala.store.mongo.store import MongoStore

GENERATION = 7


@pytest.fixture
def places(tmp_path: Path) -> Iterator[list[Place]]:
    """Three judicators' etcds and mongods, one cluster, with a task that runs and one that waits."""
    places = [Place(tmp_path, number) for number in (1, 2, 3)]
    try:
        peers = {place.name: etcd_server(place.config).peer_url for place in places}
        for place in places:
            place.start(peers)
        for place in places:
            for service in place.services:
                service.wait_ready(60)
        secure(own_etcd(places[0].config), SECRET.encode())
        _make_set(places)
        with closing(MongoStore(places[0].settings())) as store:
            store.prepare(GENERATION)
            store.insert([task(1, digest="d"), task(2, digest="d")])
            epoch = store.take_epoch("j1")
            commit_one(store, epoch, assign(task(1, digest="d"), epoch))
        yield places
    finally:
        for place in places:
            place.stop()


def _make_set(places: Sequence[Place]) -> None:
    first = places[0]
    initiate_replica_set(first.settings(), mongod_address(first.config))
    for number, place in enumerate(places[1:], start=1):
        # the second one as a judicator that had not come in wholly when the majority was lost
        member = {
            "_id": number,
            "host": mongod_address(place.config),
            "priority": 0,
            "votes": int(number == 1),
        }
        wait_until(lambda member=member: _add(first, member), timeout_s=300, what=f"{place.name} in the set")
        wait_until(lambda place=place: _hello(place).get("secondary"), timeout_s=300, what=f"{place.name}")


def _add(first: Place, member: dict[str, Any]) -> bool:
    with _direct(first) as client:
        config = client.admin.command("replSetGetConfig")["config"]
        config["version"] += 1
        config["members"].append(member)
        assert not any(each.get("newlyAdded") for each in config["members"])
        try:
            return bool(client.admin.command({"replSetReconfig": config})["ok"])
        except OperationFailure:  # the last configuration is not everywhere yet
            return False


def _hello(place: Place) -> Any:
    with MongoClient[Any](mongod_address(place.config), directConnection=True, timeoutMS=60_000) as client:
        return client.admin.command("hello")


def _knows_that_it_is_out(place: Place) -> bool:
    """It closes its connections when it learns it."""
    try:
        return "setName" not in _hello(place)
    except AutoReconnect:
        return False


def _direct(place: Place) -> MongoClient[Any]:
    settings = place.settings()
    return MongoClient(settings.hosts[0], directConnection=True, timeoutMS=60_000, **login(settings))


def test_a_survivor_goes_on_alone_with_all_that_it_has(places: list[Place]) -> None:
    survivor, lost = places[1], (places[0], places[2])
    busy = survivor.recover()
    assert busy.returncode == 2 and "is running on this folder" in busy.stderr
    wait_until(lambda: _in_step(places), what="the survivor in step")
    survivor.stop()
    refused = survivor.recover()
    assert refused.returncode == 4, refused.stderr
    assert "still answer" in refused.stderr and mongod_address(lost[0].config) in refused.stderr
    for place in lost:
        place.stop()

    wrong = survivor.recover("--secret-file=/dev/null")
    assert wrong.returncode == 2, wrong.stderr
    recovered = survivor.recover()
    assert recovered.returncode == 0, recovered.stderr
    assert "every write that was acknowledged until" in recovered.stdout
    assert "start this judicator as before, without --recover" in recovered.stdout
    generation = _generation_in(recovered.stdout)
    assert generation > GENERATION

    with running(survivor):
        with closing(MongoStore(survivor.settings())) as store:
            wait_until(
                lambda: _leads(store, generation), timeout_s=240, what="a leader of the new generation"
            )
            assert one(store, 1).control.attempt == 1
            assert [answer.answer for answer in store.insert([task(2, digest="d")])] == ["repeated"]
            store.insert([task(3)])
            assert store.read([task_id(3)])
        etcd = etcd_server(survivor.config)
        assert etcd.known_members(60.0) == (etcd.peer_url,)
        with _direct(survivor) as client:
            (member,) = client.admin.command("replSetGetConfig")["config"]["members"]
            assert (member["host"], member["votes"]) == (mongod_address(survivor.config), 1)
        lost[0].start_mongod()  # by mistake, with its old data
        wait_until(lambda: _knows_that_it_is_out(lost[0]), what="the lost one to learn it")
        lost[0].stop()

    for file in (survivor.config.data_dir / "etcd" / "data").rglob("db"):
        file.write_bytes(b"damaged")
    again = survivor.recover()
    assert again.returncode == 0, again.stderr
    assert "etcd's data could not be used and lie in" in again.stdout
    anew = _generation_in(again.stdout)
    assert anew > generation
    with running(survivor), closing(MongoStore(survivor.settings())) as store:
        wait_until(lambda: _leads(store, anew), timeout_s=240, what="a leader with an etcd anew")


def test_what_never_was_a_judicator_is_no_survivor(tmp_path: Path) -> None:
    refused = Place(tmp_path, 4).recover()
    assert refused.returncode == 2
    assert "has no judicator's data" in refused.stderr


def _generation_in(said: str) -> int:
    return int(said.split("generation ")[1].split()[0])


def _in_step(places: Sequence[Place]) -> bool:
    with _direct(places[0]) as client:
        times = [member["optimeDate"] for member in client.admin.command("replSetGetStatus")["members"]]
    return max(times) == min(times)


def _leads(store: MongoStore, generation: int) -> bool:
    try:
        leader = store._connection.collection("meta").find_one({"_id": "leader"})
    except PyMongoError:
        return False
    assert leader is not None
    return bool(leader["generation"] == generation and leader["number"] >= 1 and leader["holder"])
