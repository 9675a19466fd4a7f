"""An executor on a host of its own, whose network is cut, both ways or one way, or disturbs messages."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from faults.conftest import PATIENCE_S
from faults.far import FarExecutor
from faults.trial import Trial
from faults.wire import IN, OUT, Host, Weather, Wire
from wait import wait_until

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root"),
    pytest.mark.timeout(PATIENCE_S),
]
LEASE_S = 6.0


@dataclass(frozen=True, slots=True)
class Far:
    """The executor and its wire."""

    executor: FarExecutor
    wire: Wire


@pytest.fixture(scope="module")
def far(shared_trial: Trial) -> Iterator[Far]:
    """It has joined the shared cluster, for all tests of this module."""
    cluster = shared_trial.cluster
    ports = cluster.record().ports
    host = Host()
    wire = Wire(
        host,
        [port for name, port in ports.items() if name.endswith(".etcd_client")],
        [port for name, port in ports.items() if name.endswith(".main")],
    )
    executor = FarExecutor(cluster, "far-1", cluster.directory / "far-1", host=host)
    try:
        executor.start()
        shared_trial.welcome(executor.name, executor.data_dir)
        yield Far(executor, wire)
    finally:
        wire.mend()
        executor.stop()
        wire.close()
        host.close()


def wait_lost(trial: Trial, name: str) -> None:
    """Until the leader no longer knows an executor."""
    wait_until(
        lambda: name not in {each["id"] for each in trial.ask("executors")["executors"]},
        timeout_s=LEASE_S + 24,
        what=f"{name} to be lost",
    )


@pytest.mark.parametrize(
    "directions",
    [
        pytest.param((OUT, IN), id="both-ways"),
        pytest.param((OUT,), id="out"),
        pytest.param((IN,), id="in"),
    ],
)
def test_an_executor_is_cut_off_past_its_lease(far: Far, trial: Trial, directions: tuple[str, ...]) -> None:
    """Its attempts go on or are stopped, as each task asked; others run them again; one outcome counts."""
    name = far.executor.name
    held = trial.hold(name)
    kind = f"cut {'+'.join(directions)}"
    with trial.fault(kind, name, name):
        far.wire.cut(*directions)
        wait_lost(trial, name)
        trial.wait_progress()
        far.wire.mend()
    trial.welcome(name, far.executor.data_dir)
    trial.wait_running(name)
    verdict = trial.judge()
    assert verdict.struck[kind]
    assert trial.ask(f"tasks/{held}")["attempt"] > 1


def test_an_executor_is_cut_off_for_less_than_its_lease(far: Far, trial: Trial) -> None:
    """Nothing is given away."""
    name = far.executor.name
    trial.hold(name, constraints={"place": name})
    incarnation = incarnation_of(trial, name)
    with trial.fault("short cut", name, name):
        far.wire.cut(OUT, IN)
        trial.wait_progress(3)
        far.wire.mend()
    assert trial.judge().struck["short cut"]
    assert incarnation_of(trial, name) == incarnation


def test_every_message_is_tripled_and_many_are_late(far: Far, trial: Trial) -> None:
    """In both directions, between the executor and its leader."""
    weather = far.wire.weather = Weather(copies=3, late=0.4, rng=random.Random(trial.seed))
    name = far.executor.name
    with trial.fault("tripled messages", name, name):
        trial.wait_running(name)
        trial.wait_progress(40)
    far.wire.weather = Weather()
    assert weather.disturbed > 50
    trial.judge()


def incarnation_of(trial: Trial, name: str) -> str:
    """Which life of its process an executor leads."""
    return next(e["incarnation"] for e in trial.ask("executors")["executors"] if e["id"] == name)
