"""One cluster for all tests of a file that leave it whole, and the trial that judges it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from cluster.conftest import LocalCluster, make_cluster
from faults.trial import Trial

SIZE = ("--executors", "2", "--gateways", "2", "--slots", "3")
PATIENCE_S = 900
"""A test's time limit: thirty times what it takes on a quiet machine. Verdicts do not depend on it."""
SEED = int(os.environ.get("KHALA_FAULT_SEED") or 7)


TRIO = ("--judicators", "3", "--executors", "4", "--gateways", "2", "--slots", "2")
FIVE = ("--judicators", "5", "--executors", "4", "--gateways", "2", "--slots", "2")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What of this folder runs in `make test` fits into four minutes there; the rest is marked `long`, and
    `make faults` (or KHALA_FAULTS=all) runs it."""
    if os.environ.get("KHALA_FAULTS") != "all":
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="module")
def fault_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A running cluster: one judicator, two executors of three slots, two gateways."""
    for cluster in make_cluster(tmp_path_factory.mktemp("faults") / "c"):
        cluster.up(*SIZE)
        yield cluster


@pytest.fixture(scope="module")
def shared_trial(fault_cluster: LocalCluster) -> Iterator[Trial]:
    """The history of that cluster; set KHALA_FAULT_SEED to see the same orders again."""
    print(f"seed {SEED}")
    trial = Trial(fault_cluster, SEED)
    yield trial
    trial.close()


@pytest.fixture(scope="module")
def trio_trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A cluster of three judicators, four executors of two slots, two gateways, and its history."""
    for cluster in make_cluster(tmp_path_factory.mktemp("trio") / "c"):
        cluster.up(*TRIO)
        print(f"seed {SEED}")
        trial = Trial(cluster, SEED)
        yield trial
        trial.close()


@pytest.fixture
def trio(trio_trial: Trial) -> Iterator[Trial]:
    """Whole and under load from the beginning of the test, which ends with `judge`."""
    trio_trial.wait_whole()
    trio_trial.begin()
    yield trio_trial
    trio_trial.load.finish()


@pytest.fixture
def trial(shared_trial: Trial) -> Iterator[Trial]:
    """Under load from the beginning of the test; the test itself ends with `judge`."""
    shared_trial.begin()
    yield shared_trial
    shared_trial.load.finish()
