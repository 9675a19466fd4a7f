"""etcd comes back from an old copy of its data: with leases that nobody renews, and lives that are over."""

from __future__ import annotations

import shutil

import pytest
from faults import victims
from faults.conftest import PATIENCE_S
from faults.trial import Trial

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]
NAME = "judicator-1"


def test_etcd_is_restored_from_an_old_copy(trial: Trial) -> None:
    """It never held a task: who leads and who lives is found out anew, under a newer epoch."""
    cluster = trial.cluster
    data = cluster.directory / NAME / "etcd" / "data"
    old = data.with_name("old")
    with victims.gone(cluster, [NAME], "etcd"):
        shutil.copytree(data, old)
    trial.wait_progress()
    for name in ("executor-1", NAME):
        process = victims.role(cluster, name)
        victims.kill(process)
        victims.replaced(cluster, name, process)
    trial.wait_running("executor-1", "executor-2")
    epoch = trial.ask("cluster")["epoch"]["number"]
    with trial.fault("old etcd", NAME):
        with victims.gone(cluster, [NAME], "etcd"):
            shutil.rmtree(data)
            old.rename(data)
        trial.wait_progress()
    trial.wait_running("executor-1", "executor-2")
    assert trial.judge().struck["old etcd"]
    assert trial.ask("cluster")["epoch"]["number"] >= epoch
