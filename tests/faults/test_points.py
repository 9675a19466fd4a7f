"""The leader stands still between two of its steps, past its time, and goes on: what it had in hand counts
for nothing that came after it.
"""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
from cluster.conftest import make_cluster
from faults import victims
from faults.conftest import PATIENCE_S, SEED, TRIO
from faults.halting import COMMAND, POINTS, halt_file
from faults.trial import Trial
from wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]


@pytest.fixture(scope="module")
def halting_trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """Three judicators that halt where they are told to, four executors, two gateways."""
    for cluster in make_cluster(tmp_path_factory.mktemp("points") / "c", command=COMMAND):
        cluster.up(*TRIO)
        print(f"seed {SEED}")
        trial = Trial(cluster, SEED)
        yield trial
        trial.close()


@pytest.mark.parametrize("point", POINTS)
def test_the_leader_is_paused_where_it_hurts_most(halting_trial: Trial, point: str) -> None:
    """Another one leads meanwhile, and tasks end; then the old one goes on from there."""
    trial = halting_trial
    trial.wait_whole()
    trial.begin()
    lost, kind = victims.leader(trial), f"pause when {point}"
    process = victims.role(trial.cluster, lost)
    with trial.fault(kind, lost):
        halt_file(trial.cluster.directory / lost, point).touch()
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, timeout_s=120, what=f"a halt: {point}")
        try:
            wait_until(lambda: victims.leader(trial) != lost, timeout_s=90, what="another leader")
            trial.wait_progress()
        finally:
            process.resume()
        trial.wait_progress()
    assert trial.judge().struck[kind]
