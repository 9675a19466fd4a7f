"""Full disks: under an executor's journal, under its workspaces, and under the only mongod."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cluster.conftest import LocalCluster, make_cluster
from faults import victims
from faults.conftest import PATIENCE_S, SEED
from faults.far import FarExecutor
from faults.remains import workspace_roots
from faults.trial import Trial
from wait import wait_until

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own needs root"),
    pytest.mark.timeout(PATIENCE_S),
]
MIB = 1 << 20
RESERVE_BYTES = 64 * MIB
WEIGHT = os.urandom(200_000).hex()
"""What each task weighs, so that the log which mongod has made beforehand is soon used up."""


@contextmanager
def small_disk(place: Path, size_bytes: int) -> Iterator[None]:
    """A disk of that size at `place`, while the block runs."""
    place.mkdir(parents=True, exist_ok=True)
    size = f"size={size_bytes},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "khala-test", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def full(place: Path, *, left_bytes: int = 0) -> Iterator[Callable[[], None]]:
    """No more than `left_bytes` are free on the disk at `place` when the block begins; what it is given fills
    up what somebody else has freed since."""
    ballast = place / "ballast"

    def fill() -> None:
        with ballast.open("ab", buffering=0) as file, suppress(OSError):
            while free_bytes(place) > left_bytes:
                file.write(bytes(MIB))

    try:
        fill()
        yield fill
    finally:
        ballast.unlink()


def free_bytes(place: Path) -> int:
    """How much is free on the disk at `place`."""
    disk = os.statvfs(place)
    return disk.f_bavail * disk.f_frsize


@contextmanager
def joined(trial: Trial, name: str, data_dir: Path) -> Iterator[FarExecutor]:
    """A further executor, which is asked to leave at the end."""
    executor = FarExecutor(trial.cluster, name, data_dir)
    executor.start()
    try:
        trial.welcome(name, data_dir)
        yield executor
    finally:
        executor.stop()
        trial.keeper.retire(name)


def test_an_executors_journal_has_no_room(trial: Trial) -> None:
    """It starts nothing that it cannot write down; when there is room again it goes on."""
    name = "disk-1"
    data_dir = trial.cluster.directory / name
    log = trial.cluster.directory / "logs" / f"{name}.log"
    with small_disk(data_dir, 8 * MIB), joined(trial, name, data_dir):
        trial.hold(name, constraints={"place": name})
        with trial.fault("journal disk full", name, name), full(data_dir):
            wait_until(lambda: "no room" in log.read_text(), timeout_s=120, what="a word in its log")
        trial.wait_running(name)
        verdict = trial.judge()
    assert verdict.struck["journal disk full"]


def test_an_executors_workspaces_have_no_room(trial: Trial) -> None:
    """It takes nothing more and hands back what waits: no task fails because of it."""
    name = "disk-2"
    data_dir = trial.cluster.directory / name
    place = workspace_roots(name, data_dir)[1]
    with small_disk(place, 256 * MIB), joined(trial, name, data_dir):
        trial.hold(name, constraints={"place": name})
        with trial.fault("workspace disk full", name, name), full(place, left_bytes=RESERVE_BYTES // 2):
            trial.wait_progress(30)
        trial.wait_running(name)
        verdict = trial.judge()
    assert verdict.struck["workspace disk full"]


@pytest.fixture
def small_store(tmp_path: Path) -> Iterator[Trial]:
    """A cluster of its own whose mongod has a small disk, under load."""
    for cluster in make_cluster(tmp_path / "c"):
        cluster.up("--slots", "2")
        assert cluster.khala("down").returncode == 0
        aside = mongods_disk(cluster).with_name("aside")
        mongods_disk(cluster).rename(aside)
        with small_disk(mongods_disk(cluster), 700 * MIB):
            subprocess.run(["cp", "-a", f"{aside}/.", str(mongods_disk(cluster))], check=True)
            cluster.up("--slots", "2")
            trial = Trial(cluster, SEED, inputs=[{"path": "weight", "content": WEIGHT}])
            trial.begin()
            yield trial
            trial.load.finish()
            trial.close()
            cluster.khala("down")
            victims.nothing_left(cluster)


def mongods_disk(cluster: LocalCluster) -> Path:
    """Where the data of the only mongod lie."""
    return cluster.directory / "judicator-1" / "mongodb" / "data"


def test_mongods_disk_is_full(small_store: Trial) -> None:
    """Nothing is acknowledged that has no place; with room again all goes on, and nothing is lost. A mongod
    that dies of it and is started again frees its old log, which somebody else then takes."""
    trial = small_store
    with trial.fault("mongod disk full", "judicator-1"), full(mongods_disk(trial.cluster)) as fill:
        began = trial.now()

        def refused() -> bool:
            fill()
            return len(trial.recorder.unanswered(began)) > 5

        wait_until(refused, timeout_s=120, what="refused submits")
    trial.wait_progress()
    assert trial.judge().struck["mongod disk full"]
