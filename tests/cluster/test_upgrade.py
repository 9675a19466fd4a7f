"""Neighbours one version apart work together, and those two apart refuse each other in words (P16)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from cluster import places
from cluster.conftest import ROOT, LocalCluster, environment
from cluster.places import Place
from pymongo.errors import PyMongoError
from services.processes import free_ports
from wait import wait_until

from khala.client import Client
from khala.errors import Unavailable
from khala.store.mongo.schema import SCHEMA_VERSION
from khala.store.mongo.store import MongoStore

REFUSAL = "upgrade the older one"
LAUNCHER = Path(__file__).with_name("another_version.py")


def build(step: int) -> list[str]:
    """The `khala` command of a build that is `step` versions newer."""
    return [sys.executable, str(LAUNCHER), str(step)]


@contextmanager
def role(cluster: LocalCluster, step: int, name: str, *flags: str) -> Iterator[Path]:
    """One more node of another build in a local cluster, until the end of the block; its log."""
    log = cluster.directory / "logs" / f"{name}.log"
    etcd = cluster.record().ports["judicator-1.etcd_client"]
    words = [
        *build(step),
        *flags,
        f"--main-name={name}",
        f"--data-dir={cluster.directory / name}",
        f"--secret-file={cluster.directory / 'secret'}",
        f"--etcd-cluster-join-member-client=http://127.0.0.1:{etcd}",
    ]
    with log.open("w") as output:
        process = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=output, stderr=output)
        try:
            yield log
        finally:
            process.terminate()
            process.wait(180)


@contextmanager
def nodes(
    cluster: LocalCluster, step: int, name: str, *, patience_s: float = 120.0
) -> Iterator[tuple[Client, Path]]:
    """An executor E-NAME of that build, which alone has the label build=NAME, and a gateway: a client of
    the gateway, and the executor's log."""
    (port,) = free_ports(1)
    executor = ("executor", "--main-task-vacant=1", f"--label=build={name}")
    gateway = ("gateway", "--uwsgi-host=127.0.0.1", f"--uwsgi-port={port}", "--uwsgi-processes=1")
    with ExitStack() as stack:
        log = stack.enter_context(role(cluster, step, f"e-{name}", *executor))
        stack.enter_context(role(cluster, step, f"g-{name}", *gateway))
        url, token = f"http://127.0.0.1:{port}", cluster.ready["token"]
        yield stack.enter_context(Client(url, token, patience_s=patience_s)), log


def test_executors_and_gateways_one_version_apart_work(running: LocalCluster) -> None:
    with nodes(running, -1, "older") as (older, _), nodes(running, 1, "newer") as (newer, _):
        for client, name in ((older, "older"), (newer, "newer")):
            wait_until(lambda client=client: _ready(client), timeout_s=240, what=f"the {name} gateway")
            task = {"execute": {"command": "echo hi"}, "constraints": {"build": name}}
            done = client.run(task, timeout_s=240)
            assert (done.state, done.executor) == ("succeeded", f"e-{name}")


def test_nodes_two_versions_apart_refuse_each_other_in_words(running: LocalCluster) -> None:
    with nodes(running, -2, "old", patience_s=0.0) as old, nodes(running, 2, "new", patience_s=0.0) as new:
        for client, log in (old, new):
            wait_until(lambda log=log: REFUSAL in log.read_text(), timeout_s=240, what="an executor's words")
            wait_until(lambda client=client: _refused(client), timeout_s=240, what="a gateway's words")
    with Client(running.ready["gateway"], running.ready["token"], patience_s=120.0) as client:
        ours = ["executor-1"]
        wait_until(lambda: [executor["id"] for executor in client.executors()] == ours, what="our executor")
        assert client.run({"execute": {"command": "true"}}, timeout_s=240).state == "succeeded"


def _refused(client: Client) -> bool:
    with pytest.raises(Unavailable, match=REFUSAL):
        client.executors()
    return True


def _ready(client: Client) -> bool:
    try:
        return client.ready()
    except Unavailable:
        return False


def test_a_judicator_goes_one_version_up_and_back_on_the_same_data(tmp_path: Path) -> None:
    place, epochs, versions = Place(tmp_path, 1), [0], []
    for step in (-1, 0, -1):
        with places.running(place, build(step)), closing(MongoStore(place.settings())) as store:
            epoch, version = wait_until(lambda: _led(store, epochs[-1]), timeout_s=240, what="a leader")
        epochs.append(epoch)
        versions.append(version)
    assert versions == [SCHEMA_VERSION - 1, SCHEMA_VERSION, SCHEMA_VERSION]
    for step in (-2, 2):
        ended = subprocess.run(
            [*build(step), "judicator", *place.flags],
            cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert ended.returncode == 2
        assert f"has schema version {SCHEMA_VERSION}" in ended.stderr


def _led(store: MongoStore, after: int) -> tuple[int, int] | None:
    """The epoch's number, once somebody leads in one after `after`, and the store's schema version."""
    meta = store._connection.collection("meta")
    try:
        leader = meta.find_one({"_id": "leader", "number": {"$gt": after}})
        schema = meta.find_one({"_id": "schema"})
    except PyMongoError:
        return None
    return (leader["number"], schema["version"]) if leader and schema else None
