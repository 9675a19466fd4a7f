"""Three judicators and four executors as real processes: what they survive, and what they never say."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from cluster.conftest import LocalCluster, make_cluster
from cluster.load import ECHO, Load, assert_all_ended_once, listed
from freezing import freeze
from wait import wait_until

from khala.client import Client


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three judicators, four executors of one slot; each test leaves it whole."""
    for cluster in make_cluster(tmp_path_factory.mktemp("trio") / "cluster"):
        cluster.up("--judicators", "3", "--executors", "4", "--slots", "1")
        yield cluster


@pytest.fixture
def client(trio: LocalCluster) -> Iterator[Client]:
    with Client(trio.ready["gateway"], trio.ready["token"], patience_s=120) as made:
        wait_until(lambda: whole(made), timeout_s=300, what="a whole cluster before")
        yield made
        wait_until(lambda: whole(made), timeout_s=300, what="a whole cluster afterwards")


def whole(client: Client) -> bool:
    cluster = client.cluster()
    return bool(cluster["ready"]) and cluster["survives"] == 1 and len(client.executors()) == 4


def leader(client: Client) -> str:
    return str(client.cluster()["leader"])


def pid_of(cluster: LocalCluster, name: str) -> int:
    (entry,) = [entry for entry in cluster.record().processes if entry.name == name]
    assert entry.identity is not None
    return entry.identity.pid


def test_each_has_its_part_and_every_one_knows_the_leader(trio: LocalCluster, client: Client) -> None:
    def shown() -> bool:
        told = trio.told("judicators", "--json")["judicators"]
        assert [one["name"] for one in told] == ["judicator-1", "judicator-2", "judicator-3"]
        assert sorted(one["replica_state"] for one in told) == ["primary", "secondary", "secondary"]
        assert [one["leader"] for one in told].count(True) == 1
        return True

    wait_until(shown, what="each with its part")
    wait_until(lambda: client.cluster()["epoch"]["number"] > 0, what="an epoch")


def test_the_leader_is_killed_under_load(trio: LocalCluster, client: Client) -> None:
    lost, epoch = leader(client), client.cluster()["epoch"]["number"]
    with Load(trio.ready["gateway"], trio.ready["token"], "leader-killed-") as load:
        os.kill(pid_of(trio, lost), signal.SIGKILL)
        load.goes_on()
        # It may win again, if it is back before the others have noticed.
        wait_until(lambda: client.cluster()["epoch"]["number"] > epoch, timeout_s=300, what="another epoch")
        load.goes_on()
    assert_all_ended_once(client, load.ids, "leader-killed-")


def test_everything_of_the_primarys_judicator_is_killed_at_once(trio: LocalCluster, client: Client) -> None:
    (lost,) = [one["name"] for one in client.judicators() if one["replica_state"] == "primary"]
    with Load(trio.ready["gateway"], trio.ready["token"], "all-killed-") as load:
        for process in trio.processes(lost):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has noticed the end of the one before
                process.send_signal(signal.SIGKILL)
        load.goes_on()
    assert_all_ended_once(client, load.ids, "all-killed-")


def test_without_a_majority_nothing_is_promised_and_nothing_lost(
    trio: LocalCluster, client: Client, gates: Path
) -> None:
    ends = gates / "ends"
    ends.touch()
    ends.chmod(0o666)
    command = f"sleep 5; echo $KHALA_ATTEMPT >>{ends}; echo $KHALA_TASK_ID"
    running = client.submit({"name": "no-majority-", "execute": {"command": command}})
    wait_until(lambda: client.get(running).state == "running", what="a running task")
    attempt = client.get(running).attempt
    frozen = [p for name in ("judicator-2", "judicator-3") for p in trio.processes(name)]
    try:
        for process in frozen:
            freeze(process.pid)
        headers = {"Authorization": f"Bearer {trio.ready['token']}"}
        url = f"{trio.ready['gateway']}/api/v1/tasks"
        began = time.monotonic()
        answer = httpx.post(url, json={**ECHO, "name": "refused-"}, headers=headers, timeout=60)
        took_s = time.monotonic() - began
        assert answer.status_code == 503, answer.text
        assert float(answer.headers["Retry-After"]) > 0
        assert took_s < 35, "the gateway's own 10 s, and what a busy machine adds"
        wait_until(lambda: f"{attempt}\n" in ends.read_text(), what="the running task to go on to its end")
    finally:
        for process in frozen:
            process.send_signal(signal.SIGCONT)
    done = client.wait(running, timeout_s=300)
    assert done.state == "succeeded"
    assert_all_ended_once(client, [running], "no-majority-")


def test_one_is_removed_and_down_and_up_brings_it_and_all_tasks_back(
    trio: LocalCluster, client: Client
) -> None:
    ids = [str(one["id"]) for one in client.submit_many([{**ECHO, "name": "kept-"}] * 50)]
    before = assert_all_ended_once(client, ids, "kept-")
    remove = ("judicators", "remove", "judicator-3")
    wait_until(lambda: trio.khala(*remove).returncode == 0, timeout_s=300, what="its removal")
    shown = {"judicator-1", "judicator-2"}
    wait_until(lambda: {one["name"] for one in client.judicators()} == shown, timeout_s=300, what="two")
    wait_until(lambda: not trio.processes("judicator-3"), timeout_s=300, what="its end")
    assert trio.khala("down").returncode == 0
    assert trio.khala("up", "--detach", "--executors", "4", "--slots", "1").returncode == 0
    wait_until(lambda: whole(client), timeout_s=300, what="a whole cluster")
    assert listed(client, "kept-") == before
