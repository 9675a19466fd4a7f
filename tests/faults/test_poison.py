"""A task that kills its executor is stopped before it has killed them all."""

from __future__ import annotations

import pytest
from faults.conftest import PATIENCE_S
from faults.far import FarExecutor
from faults.trial import Trial
from wait import wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]
MOST = 5


def test_a_task_that_kills_its_executor(trial: Trial) -> None:
    """Each time it begins its executor dies; after five it has failed, and the executor lives."""
    name = "poison-1"
    executor = FarExecutor(trial.cluster, name, trial.cluster.directory / name, slots=1)
    executor.start()
    try:
        trial.welcome(name, executor.data_dir)
        task_id = trial.load.submit(trial.workload.poison(name))
        for time in range(1, MOST + 1):
            wait_until(
                lambda time=time: trial.witness.began(task_id) == time,  # type: ignore[misc]
                timeout_s=60,
                what=f"its start number {time}",
            )
            with trial.fault("poison", name, name):
                executor.kill()
                executor.start()
        wait_until(
            lambda: trial.ask(f"tasks/{task_id}")["state"] == "failed", timeout_s=60, what="its failure"
        )
        trial.wait_running(name)
        verdict = trial.judge()
    finally:
        executor.stop()
    task = trial.ask(f"tasks/{task_id}")
    assert (task["exit_reason"], trial.witness.began(task_id)) == ("crash_limit", MOST)
    assert verdict.struck["poison"] == MOST
