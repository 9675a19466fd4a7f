"""An executor's wall clock jumps, an hour ahead and an hour back, under load."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from faults.clock import JumpingClock
from faults.conftest import PATIENCE_S
from faults.far import FarExecutor
from faults.trial import Trial

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("cc") is None, reason="a C compiler is missing: apt-get install gcc"),
    pytest.mark.timeout(PATIENCE_S),
]
HOUR_S = 3600


def test_an_executors_clock_jumps(trial: Trial, tmp_path: Path) -> None:
    """Leases, limits and deadlines are measured by clocks that do not jump: nothing is lost."""
    name = "clock-1"
    clock = JumpingClock(tmp_path)
    data_dir = trial.cluster.directory / name
    executor = FarExecutor(trial.cluster, name, data_dir, variables=clock.environment)
    executor.start()
    try:
        trial.keeper.clocks[name] = clock.truth
        trial.welcome(name, data_dir)
        lost = trial.losses()
        for offset_s in (HOUR_S, -HOUR_S, 0):
            trial.hold(name, constraints={"place": name})
            with trial.fault("clock jump", name, name):
                clock.jump_to(offset_s)
                trial.wait_progress()
        verdict = trial.judge()
        assert trial.losses() == lost
    finally:
        executor.stop()
    assert verdict.struck["clock jump"] == 3
    assert clock.wrong_times, "its journal tells of no time at which its clock was wrong"
