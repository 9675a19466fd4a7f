"""The short mix: a seeded nemesis for half a minute on one judicator, two executors and two gateways."""

from __future__ import annotations

import pytest
from faults.conftest import PATIENCE_S, SEED, SIZE
from faults.nemesis import FAULTS, Nemesis, schedule
from faults.trial import Trial

pytestmark = pytest.mark.timeout(PATIENCE_S)
LENGTH_S = 25.0
OTHERS = frozenset({"kill_everything", "stop_leader", "stop_primary"})
"""They take long where there is only one judicator, and have tests of their own."""


def test_a_short_mix(trial: Trial) -> None:
    """KHALA_FAULT_SEED repeats it."""
    nemesis = Nemesis(trial, SIZE)
    strokes = [each for each in schedule(SEED, LENGTH_S) if each.fault not in OTHERS]
    for stroke in strokes:
        nemesis.strike(stroke)
    trial.wait_progress()
    verdict = trial.judge()
    assert strokes
    assert verdict.struck


def test_a_schedule_can_be_replayed() -> None:
    """The same seed gives the same strokes; another one gives others; long ones have every fault."""
    assert schedule(7, 900.0) == schedule(7, 900.0) != schedule(8, 900.0)
    assert {stroke.fault for stroke in schedule(7, 900.0)} == set(FAULTS)
