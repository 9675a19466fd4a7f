"""The seeded simulation: clean seeds stay clean, all that can happen did, and a rule that is taken away
or a bug that is planted is found.
"""

from __future__ import annotations

import multiprocessing
import os

import pytest
from history.tasks import LEGAL
from simulation import broken
from simulation.faults import FAULTS
from simulation.run import Tally, run_seed, run_seeds

ENOUGH = 2_000
SEEDS = int(os.environ.get("KHALA_SEEDS") or ENOUGH)
pytestmark = pytest.mark.timeout(600 + SEEDS // 5)
FEWEST_EVENTS = 300
STRUCK = ("struck when decided", "struck when saved", "struck when sending", "struck when journalled")
MESSAGES = ("message dropped", "message doubled", "message delayed", "message cut off")
STORE = ("store unavailable", "store unknown_applied", "store unknown_not_applied", "store applied late")
OTHERS = (
    "leader elected",
    "leader resigned",
    "leader saw a gap",
    "executor drained",
    "executor left",
    "store restored",
    "output of a lost generation refused",
    "task killed its executor",
    "stop task ended at its deadline",
    "executor saw its lease run out",
    "given ahead",
    "given back by a slot",
    "stopped before its turn in a slot",
    "spool cut short",
    "output told as cut",
)


@pytest.fixture(scope="module")
def tally() -> Tally:
    """What came of the clean seeds, run once for all tests here."""
    total = Tally()
    for part in run_seeds(0, SEEDS):
        total.add(part)
    return total


def test_clean_seeds(tally: Tally) -> None:
    """No seed violates an invariant, and none is too short to mean anything."""
    assert tally.seeds == SEEDS
    assert not tally.failed, "\n".join(f"seed {seed}: {why}" for seed, why in sorted(tally.failed)[:5])
    assert tally.fewest_events >= FEWEST_EVENTS


def test_coverage_of_transitions_and_faults(tally: Tally) -> None:
    """Every step of the transition table and every kind of fault occurred."""
    if SEEDS < ENOUGH:
        pytest.skip(f"{SEEDS} seeds are too few to expect everything: {ENOUGH} are enough")
    steps = {(kind, str(a), str(b)) for kind, pairs in LEGAL.items() for a, b in pairs}
    assert steps == set(tally.transitions)
    wanted = {*(fault.__name__ for fault in FAULTS), *STRUCK, *MESSAGES, *STORE, *OTHERS}
    assert wanted <= {name for name, times in tally.faults.items() if times >= 3}


def test_a_seed_replays_exactly() -> None:
    """The same seed gives the same world, to the last event, in another process too."""
    here = [run_seed(seed) for seed in range(8)]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.map(run_seed, range(8))
    assert here == there


@pytest.mark.parametrize("case", sorted(broken.CASES))
def test_what_is_broken_is_found(case: str) -> None:
    """The first violating seed comes within the seeds of the clean run, and breaks what it should."""
    found = broken.first_violation(case, ENOUGH)
    assert found is not None, f"{ENOUGH} seeds found nothing wrong without {case}"
    seed, why = found
    print(f"{case}: seed {seed}: {why[:150]}")
    assert why.partition(":")[0] in broken.CASES[case].breaks, why
