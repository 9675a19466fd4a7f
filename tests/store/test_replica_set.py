"""Making a replica set of a fresh mongod, again, and with what does not fit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from store.mongod import QUICK, Mongod
from wait import wait_until

from khala.core.membership import SetMember
from khala.errors import ConfigurationError, Unavailable
from khala.store.mongo.replica_set import MongoReplicaSet, initiate_replica_set
from khala.store.mongo.store import MongoStore


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Mongod]:
    server = Mongod(tmp_path, parameters=(QUICK,))
    try:
        server.start()
        yield server
    finally:
        server.discard()


def test_initiating_is_idempotent_and_the_set_is_healthy(mongod: Mongod) -> None:
    mongod.initiate()
    with contextlib.closing(MongoReplicaSet(mongod.settings())) as admin:
        (member,) = admin.members()
    assert (member.host, member.state, member.healthy, member.lag_s) == (mongod.address, "primary", True, 0.0)


def test_another_secret_is_refused_with_the_next_step(mongod: Mongod) -> None:
    wrong = replace(mongod.settings(), secret="another")
    with pytest.raises(ConfigurationError, match="secret"):
        initiate_replica_set(wrong, mongod.address)
    store = MongoStore(wrong)
    with pytest.raises(ConfigurationError, match="secret"):
        store.prepare()
    store.close()


def test_another_address_or_name_is_refused_with_the_next_step(mongod: Mongod) -> None:
    with pytest.raises(ConfigurationError, match=mongod.address):
        initiate_replica_set(mongod.settings(), "elsewhere.example:3000")
    with pytest.raises(ConfigurationError, match="--mongodb-replica-set=rs"):
        initiate_replica_set(replace(mongod.settings(), replica_set="other"), mongod.address)


def test_a_data_directory_of_another_set_is_refused(fresh: Mongod) -> None:
    fresh.initiate()
    fresh.stop()
    fresh.replica_set = "other"
    fresh.start()
    with pytest.raises(ConfigurationError, match="data directory"):
        initiate_replica_set(fresh.settings(), fresh.address, timeout_s=8.0)


def test_an_address_that_is_not_this_server_is_refused(fresh: Mongod) -> None:
    with pytest.raises(ConfigurationError, match=r"member 127\.0\.0\.1:1: .* check"):
        initiate_replica_set(fresh.settings(), "127.0.0.1:1", timeout_s=8.0)


def test_an_open_cluster_needs_no_login(tmp_path: Path) -> None:
    server = Mongod(tmp_path, secret="")
    try:
        server.start()
        server.initiate()
        server.initiate()
        store = MongoStore(server.settings())
        store.prepare()
        assert store.cluster_id()
        store.close()
    finally:
        server.discard()


def test_members_are_added_without_a_vote_given_it_and_taken_out(fresh: Mongod, tmp_path: Path) -> None:
    fresh.initiate()
    other = Mongod(tmp_path / "other", parameters=(QUICK,))
    other.start()
    try:
        with contextlib.closing(MongoReplicaSet(fresh.settings())) as admin:

            def done(act: Callable[[], object]) -> bool:
                with contextlib.suppress(Unavailable):
                    act()
                    return True
                return False

            def member(host: str) -> SetMember | None:
                return next((one for one in admin.members() if one.host == host), None)

            admin.add(other.address)
            admin.add(other.address)
            added = member(other.address)
            assert added is not None
            assert not added.voting
            wait_until(lambda: member(other.address).settled, what="a majority that knows it")  # type: ignore[union-attr]
            wait_until(lambda: member(other.address).state == "secondary", what="the data")  # type: ignore[union-attr]
            wait_until(lambda: done(lambda: admin.give_vote(other.address)), what="the vote")
            assert member(other.address).voting  # type: ignore[union-attr]
            with pytest.raises(Unavailable, match="does not add"):
                admin.add("elsewhere.example:3000")
            wait_until(lambda: done(admin.step_down), what="the step down")
            wait_until(lambda: done(lambda: member(other.address).state == "primary"))  # type: ignore[union-attr]
            wait_until(lambda: done(lambda: admin.remove(fresh.address)), what="the removal")
            wait_until(lambda: done(lambda: len(admin.members()) == 1))
            assert member(fresh.address) is None
    finally:
        other.discard()


def test_a_vote_that_only_the_primary_knows_of_is_not_settled(fresh: Mongod, tmp_path: Path) -> None:
    """Were the primary lost now, the others would elect by the configuration before it."""
    fresh.initiate()
    other = Mongod(tmp_path / "other", parameters=(QUICK, "enableTestCommands=1"))
    other.start()
    try:
        with (
            contextlib.closing(MongoReplicaSet(fresh.settings())) as admin,
            contextlib.closing(MongoReplicaSet(fresh.settings())) as looking,
            ThreadPoolExecutor() as pool,
        ):

            def added() -> SetMember:
                return next(one for one in looking.members() if one.host == other.address)

            admin.add(other.address)
            wait_until(lambda: added().state == "secondary", what="the data")
            with other.held("blockHeartbeatReconfigFinish"):
                giving = pool.submit(admin.give_vote, other.address)
                wait_until(lambda: added().voting, what="the vote")
                assert not any(one.settled for one in looking.members())
            giving.result(timeout=60)
            wait_until(lambda: added().settled, what="a majority that knows of it")
            assert added().voting
    finally:
        other.discard()
