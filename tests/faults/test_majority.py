"""Three judicators: the loss of any one of them, in any part, and of the majority of etcd or MongoDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.conftest import make_cluster
from faults import victims
from faults.conftest import FIVE, PATIENCE_S, SEED
from faults.trial import Trial
from wait import wait_until

pytestmark = pytest.mark.timeout(PATIENCE_S)
LEADER_LEASE_S = 3.0
SLOTS, BUSY_S = 8, 20
LASTS_S = 8.0
"""A task that was seen to run still runs when the fault comes."""


def test_the_leader_is_killed(trio: Trial) -> None:
    """Another one leads, under a newer epoch."""
    trio.hold(lasts_s=LASTS_S)
    lost, epoch = victims.leader(trio), trio.ask("cluster")["epoch"]["number"]
    with trio.fault("kill leader", lost):
        victims.kill(victims.role(trio.cluster, lost))
        trio.wait_progress()
    assert trio.judge().struck["kill leader"]
    assert trio.ask("cluster")["epoch"]["number"] > epoch


@pytest.mark.long
def test_processors_that_are_busy_with_tasks_change_no_leader(trio: Trial) -> None:
    """Every slot computes for several leases long; what keeps the cluster together goes before that."""
    epoch, lost = trio.ask("cluster")["epoch"], trio.losses()
    with trio.fault("busy processors", "all"):
        busy = [trio.load.submit(trio.workload.busy(BUSY_S)) for _ in range(SLOTS)]
        for task_id in busy:
            wait_until(
                lambda task_id=task_id: trio.ask(f"tasks/{task_id}")["state"] == "succeeded",
                timeout_s=300,
                what=f"the end of {task_id}",
            )
    assert trio.ask("cluster")["epoch"] == epoch
    assert trio.judge().struck["busy processors"]
    assert trio.losses() == lost


@pytest.mark.long
def test_the_primary_is_killed(trio: Trial) -> None:
    """Another mongod becomes primary; what was acknowledged is there."""
    lost = victims.primary(trio)
    with trio.fault("kill primary", lost):
        victims.kill(victims.native(trio.cluster, lost, "mongod"))
        trio.wait_progress()
    assert trio.judge().struck["kill primary"]


@pytest.mark.long
def test_the_primary_stands_still(trio: Trial) -> None:
    """Another mongod becomes primary; the old one comes back and takes nothing with it."""
    lost = victims.primary(trio)
    with trio.fault("stop primary", lost):
        with victims.frozen(victims.native(trio.cluster, lost, "mongod")):
            trio.wait_progress()
        trio.wait_progress()
    assert trio.judge().struck["stop primary"]


@pytest.mark.long
def test_etcds_leader_is_killed(trio: Trial) -> None:
    """Leases and leadership outlive it."""
    lost = victims.etcd_leader(trio.cluster)
    with trio.fault("kill etcd leader", lost):
        victims.kill(victims.native(trio.cluster, lost, "etcd"))
        trio.wait_progress()
    assert trio.judge().struck["kill etcd leader"]


def test_all_three_of_the_leaders_node_are_killed(trio: Trial) -> None:
    """Python, etcd and mongod at the same time: the computer is gone."""
    trio.hold(lasts_s=LASTS_S)
    lost = victims.leader(trio)
    processes = [victims.native(trio.cluster, lost, kind) for kind in victims.NATIVE]
    with trio.fault("kill all three", lost):
        victims.kill(victims.role(trio.cluster, lost), *processes)
        trio.wait_progress()
    assert trio.judge().struck["kill all three"]


@pytest.mark.long
def test_the_leader_stands_still_past_its_time(trio: Trial) -> None:
    """Nothing that it does afterwards counts: no write of its epoch follows one of the next leader's."""
    lost = victims.leader(trio)
    with trio.fault("stop leader", lost):
        with victims.frozen(victims.role(trio.cluster, lost)):
            wait_until(lambda: victims.leader(trio) != lost, timeout_s=300, what="another leader")
            trio.wait_progress()
        trio.wait_progress()
    assert trio.judge().struck["stop leader"]


@pytest.mark.parametrize("kind", ["mongod", pytest.param("etcd", marks=pytest.mark.long)])
def test_two_of_three_are_gone_and_come_back(trio: Trial, kind: str) -> None:
    """Without a majority of mongods nothing is acknowledged; without one of etcd nothing false is."""
    names = victims.roles(trio.cluster, "judicator")
    lost = [name for name in names if name != victims.leader(trio)][:2]
    fault = f"no majority of {kind}"
    trio.hold(lasts_s=LASTS_S)
    with trio.fault(fault, "+".join(lost)), victims.gone(trio.cluster, lost, kind):
        began = trio.now()
        if kind == "mongod":
            wait_until(
                lambda: len(trio.recorder.unanswered(began)) >= 5, timeout_s=300, what="refused submits"
            )
            assert not trio.recorder.acknowledged_between(began, trio.now())
        else:
            trio.wait_past(began + 2 * LEADER_LEASE_S)
    trio.wait_progress()
    assert trio.judge().struck[fault]


@pytest.fixture
def five(tmp_path: Path) -> Iterator[Trial]:
    """Five judicators, four executors, two gateways, under load."""
    for cluster in make_cluster(tmp_path / "c"):
        cluster.up(*FIVE)
        trial = Trial(cluster, SEED, rate=8.0)
        trial.wait_whole()
        trial.begin()
        yield trial
        trial.load.finish()
        trial.close()


@pytest.mark.long
def test_two_of_five_three_of_four_and_one_of_two_are_killed_together(five: Trial) -> None:
    """Two judicators with all they have, three executors, one gateway: every acknowledged task ends once."""
    cluster = five.cluster
    lost = ["judicator-1", "judicator-2", "executor-1", "executor-2", "executor-3", "gateway-1"]
    servers = [victims.native(cluster, name, kind) for name in lost[:2] for kind in victims.NATIVE]
    five.wait_running("executor-1")
    with five.fault("kill all but a majority", "+".join(lost)):
        victims.kill(*(victims.role(cluster, name) for name in lost), *servers)
        five.wait_progress()
    five.wait_whole()
    verdict = five.judge()
    assert verdict.struck["kill all but a majority"]
    assert verdict.second_attempts
