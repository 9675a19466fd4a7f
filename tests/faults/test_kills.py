"""kill -9 under load: each process alone, the three of a judicator together, and everything at once."""

from __future__ import annotations

import pytest
from faults import victims
from faults.conftest import PATIENCE_S, SIZE
from faults.trial import Trial

pytestmark = pytest.mark.timeout(PATIENCE_S)
LASTS_S = 8.0
"""A task that was seen to run still runs when the kill comes."""


@pytest.mark.parametrize("name", ["executor-1", "gateway-1", "gateway-2", "judicator-1"])
def test_a_role_is_killed(trial: Trial, name: str) -> None:
    """With what it has in hand; it is started again."""
    if name.startswith("executor"):
        trial.hold(name, LASTS_S)
    process = victims.role(trial.cluster, name)
    executors = (name,) if name.startswith("executor") else ()
    with trial.fault("kill", name, *executors):
        victims.kill(process)
        victims.replaced(trial.cluster, name, process)
        trial.wait_progress()
    verdict = trial.judge()
    assert verdict.struck["kill"]
    if executors:
        assert verdict.second_attempts


@pytest.mark.long
@pytest.mark.parametrize("kind", victims.NATIVE)
def test_a_native_server_is_killed(trial: Trial, kind: str) -> None:
    """The only etcd, the only mongod: what was acknowledged is on its disk."""
    process = victims.native(trial.cluster, "judicator-1", kind)
    with trial.fault(f"kill {kind}", "judicator-1"):
        victims.kill(process)
        trial.wait_progress()
    assert trial.judge().struck[f"kill {kind}"]


def test_all_three_of_a_judicator_are_killed(trial: Trial) -> None:
    """Python, etcd and mongod at the same time."""
    cluster = trial.cluster
    processes = [victims.role(cluster, "judicator-1")]
    processes += [victims.native(cluster, "judicator-1", kind) for kind in victims.NATIVE]
    trial.hold(lasts_s=LASTS_S)
    with trial.fault("kill all three", "judicator-1"):
        victims.kill(*processes)
        victims.replaced(cluster, "judicator-1", processes[0])
        trial.wait_progress()
    assert trial.judge().struck["kill all three"]


def test_everything_is_killed_and_started_again(trial: Trial) -> None:
    """A power cut: nothing is left but what lies on disks."""
    trial.hold(lasts_s=LASTS_S)
    with trial.fault("kill everything", "all"):
        victims.kill_everything(trial.cluster)
        victims.up_again(trial.cluster, *SIZE)
        trial.wait_progress()
    verdict = trial.judge()
    assert verdict.struck["kill everything"]
    assert verdict.second_attempts
