"""SIGSTOP and SIGCONT: of an executor past its lease, and of each process for a moment."""

from __future__ import annotations

import pytest
from faults import victims
from faults.conftest import PATIENCE_S
from faults.trial import Trial
from wait import wait_until

from khala.node.judicator import LEADER_LEASE_S

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]


def test_an_executor_is_stopped_past_its_lease(trial: Trial) -> None:
    """Its launchers end the `stop` attempts; it comes back to a cluster that gave its attempts away."""
    name = "executor-2"
    held = trial.hold(name)
    with trial.fault("stop executor", name, name), victims.frozen(victims.role(trial.cluster, name)):
        wait_until(
            lambda: name not in {e["id"] for e in trial.ask("executors")["executors"]},
            timeout_s=30,
            what=f"{name} to be lost",
        )
        trial.wait_progress()
    trial.wait_running(name)
    verdict = trial.judge()
    assert verdict.struck["stop executor"]
    assert trial.ask(f"tasks/{held}")["attempt"] > 1


@pytest.mark.parametrize("kind", ["mongod", "etcd"])
def test_a_native_server_stands_still(trial: Trial, kind: str) -> None:
    """Calls wait or are refused; none is answered falsely."""
    process = victims.native(trial.cluster, "judicator-1", kind)
    began = trial.now()
    with trial.fault(f"stop {kind}", "judicator-1"), victims.frozen(process):
        if kind == "mongod":
            wait_until(lambda: trial.recorder.unanswered(began), what="a refused submit")
        else:
            trial.wait_past(began + LEADER_LEASE_S + 2)
    trial.wait_progress()
    assert trial.judge().struck[f"stop {kind}"]


def test_the_leader_is_stopped_past_its_time(trial: Trial) -> None:
    """What it decided before and does afterwards counts only if nobody else led meanwhile."""
    before = trial.ask("cluster")["epoch"]["number"]
    with (
        trial.fault("stop judicator", "judicator-1"),
        victims.frozen(victims.role(trial.cluster, "judicator-1")),
    ):
        wait_until(lambda: trial.recorder.silent_s() > 5, what="the leader's lease to run out")
    trial.wait_progress()
    assert trial.judge().struck["stop judicator"]
    assert trial.ask("cluster")["epoch"]["number"] > before
