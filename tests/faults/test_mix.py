"""The short mix: a seeded nemesis's first strokes on one judicator, two executors and two gateways."""

from __future__ import annotations

import pytest
from faults.conftest import PATIENCE_S, SEED, SIZE
from faults.nemesis import FAULTS, Nemesis, schedule
from faults.trial import Trial

pytestmark = pytest.mark.timeout(PATIENCE_S)
STROKES = 5
OTHERS = frozenset({"kill_everything", "stop_leader", "stop_primary"})
"""They take long where there is only one judicator, and have tests of their own."""


def test_a_short_mix(trial: Trial) -> None:
    """KHALA_FAULT_SEED repeats it."""
    nemesis = Nemesis(trial, SIZE)
    for stroke in [each for each in schedule(SEED, 900.0) if each.fault not in OTHERS][:STROKES]:
        nemesis.strike(stroke)
    trial.wait_progress()
    assert trial.judge().struck


def test_a_schedule_can_be_replayed() -> None:
    """The same seed gives the same strokes; another one gives others; long ones have every fault."""
    assert schedule(7, 900.0) == schedule(7, 900.0) != schedule(8, 900.0)
    assert {stroke.fault for stroke in schedule(7, 900.0)} == set(FAULTS)
