"""SIGTERM: an executor drains, and a rolling restart of all roles, under load."""

from __future__ import annotations

import pytest
from faults import victims
from faults.conftest import PATIENCE_S
from faults.trial import Trial

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]

ENDS_IN_S = 4.0
"""How long a task may well take that ends before its executor is told to wait no longer (`--stop-within`)."""


def restart(trial: Trial, name: str) -> None:
    """End a role process in the friendly way, and wait for its successor."""
    process = victims.role(trial.cluster, name)
    process.terminate()
    victims.replaced(trial.cluster, name, process)


def test_an_executor_drains(trial: Trial) -> None:
    """What runs ends, what waits goes elsewhere; no attempt is lost."""
    name = "executor-1"
    trial.hold(name, ENDS_IN_S)
    lost = trial.losses()
    with trial.fault("drain", name, name):
        restart(trial, name)
    trial.wait_running(name)
    assert trial.judge().struck["drain"]
    assert trial.losses() == lost


def test_a_rolling_restart(trial: Trial) -> None:
    """Every role process, one after the other: no attempt is lost."""
    cluster = trial.cluster
    lost = trial.losses()
    for role in ("gateway", "executor", "judicator"):
        for name in victims.roles(cluster, role):
            executors = (name,) if role == "executor" else ()
            with trial.fault("restart", name, *executors):
                restart(trial, name)
                trial.wait_progress(3)
    assert trial.judge().struck["restart"]
    assert trial.losses() == lost
