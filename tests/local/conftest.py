"""Clusters of stand-ins, each in a process of its own, and the check that none of them is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from wait import wait_until

from khala.local.record import ClusterRecord, read_record

DRIVER = Path(__file__).with_name("drive_up.py")
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class RunningCluster:
    """A supervisor process and where it works."""

    directory: Path
    process: subprocess.Popen[str]
    ready: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> ClusterRecord:
        """What it wrote down last."""
        found = read_record(self.directory)
        assert found is not None
        return found

    def pids(self) -> dict[str, int]:
        """The role processes that run now."""
        return {e.name: e.identity.pid for e in self.record().processes if e.identity is not None}

    def wait_ready(self) -> None:
        """Read the line that says so."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"never ready: {self.finish()}"
        self.ready = json.loads(line)

    def finish(self, number: signal.Signals | None = None) -> str:
        """Send a signal, wait for the end; what it said."""
        if number is not None:
            self.process.send_signal(number)
        _, said = self.process.communicate(timeout=60)
        return said


Start = Callable[..., RunningCluster]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a cluster of stand-ins in a directory of its own (or a given one)."""
    started: list[RunningCluster] = []

    def begin(directory: Path | None = None, *, executors: int = 1, stop_s: float = 60.0) -> RunningCluster:
        place = directory or tmp_path / "cluster"
        process = subprocess.Popen(
            [sys.executable, DRIVER, place, str(executors), str(stop_s)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        cluster = RunningCluster(place, process)
        started.append(cluster)
        return cluster

    yield begin
    for cluster in started:
        if cluster.process.poll() is None:
            cluster.process.kill()
        cluster.process.communicate()
    for cluster in started:
        record = read_record(cluster.directory)
        for entry in record.processes if record else ():
            identity = entry.identity
            if identity is not None:
                wait_until(lambda seen=identity: not seen.alive(), what=f"the end of {entry.name}")
