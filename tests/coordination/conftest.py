"""Worlds for the coordination tests; the real etcd is started once a module and emptied in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from coordination.worlds import CALL_S, EtcdWorld, MemoryWorld, World
from wait import wait_until

from khala.coordination.etcd_client import EtcdClient
from khala.coordination.etcd_settings import address_of


@pytest.fixture(scope="module")
def etcd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdWorld]:
    world = EtcdWorld(tmp_path_factory.mktemp("coordination"))
    yield world
    world.close()


@pytest.fixture
def etcd_world(etcd_server: EtcdWorld) -> Iterator[EtcdWorld]:
    """The module's etcd, empty; fails when a thread of a node is left."""
    before = {thread.name for thread in threading.enumerate()}
    yield etcd_server
    etcd_server.forget_nodes()
    client = EtcdClient(address_of(etcd_server.endpoint), secret=None, timeout_s=CALL_S)
    for entry in client.read_below("/"):
        client.delete(entry.key)
    client.close()

    def left() -> list[str]:
        return [
            thread.name
            for thread in threading.enumerate()
            if thread.name.startswith(("coordination-", "etcd3_watch")) and thread.name not in before
        ]

    wait_until(lambda: not left(), what="the end of the nodes' threads")


@pytest.fixture(params=["memory", "etcd"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
    else:
        yield request.getfixturevalue("etcd_world")


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[EtcdWorld]:
    """An etcd of the test's own, to be killed or closed."""
    world = EtcdWorld(tmp_path)
    yield world
    world.close()
