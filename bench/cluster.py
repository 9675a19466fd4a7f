"""A cluster to measure: brought up by `khala up` in a temporary directory, with its processes' CPU time."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

KHALA = [sys.executable, "-m", "khala.cli.main"]
BATCH = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A running cluster. `http` is authorised; `etcd` is the address of the first judicator's."""

    folder: Path
    url: str
    token: str
    etcd: str
    pids: Mapping[str, int]
    http: httpx.Client

    def submit(self, count: int, task: Mapping[str, Any]) -> list[str]:
        """Submit `count` tasks in batches; their ids."""
        ids: list[str] = []
        for first in range(0, count, BATCH):
            batch = {"tasks": [task] * min(BATCH, count - first)}
            answer = self.http.post("/api/v1/tasks/batch", json=batch).raise_for_status().json()
            ids += [result["id"] for result in answer["results"]]
        return ids

    def finished(self, task_id: str) -> bool:
        """Is it? Waits for it a while."""
        answer = self.http.get(f"/api/v1/tasks/{task_id}?view=minimal&wait=20").raise_for_status().json()
        return answer["finished_at"] is not None

    def unfinished(self) -> int:
        """How many tasks wait or run."""
        counts = self.http.get("/api/v1/stats").raise_for_status().json()["tasks"]
        return sum(counts.get(state, 0) for state in ("pending", "assigned", "running"))

    def wait_until_settled(self, last: str, rest: int = 0, *, within_s: float = 300.0) -> None:
        """Wait until the task `last`, submitted last, is finished, and at most `rest` are not."""
        wait(lambda: bool(self.finished(last)), f"task {last}", within_s=within_s)
        wait(lambda: self.unfinished() <= rest, f"{rest} unfinished tasks", within_s=within_s)

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds that each process of the cluster has used, its finished children included, by name."""
        used: dict[str, float] = {}
        for name, pid in self.pids.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = psutil.Process(pid)
                for process in [parent, *parent.children(recursive=True)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        program = process.name()
                        named = program if program in ("etcd", "mongod") else name
                        times = process.cpu_times()
                        spent = times.user + times.system
                        if named == name:
                            spent += times.children_user + times.children_system
                        used[named] = used.get(named, 0.0) + spent
        return used

    def memory_bytes(self, name: str) -> int:
        """What the process `name` holds in memory of its own."""
        return int(psutil.Process(self.pids[name]).memory_info().rss)


@contextlib.contextmanager
def running(*, slots: int = 2, judicators: int = 1) -> Iterator[Cluster]:
    """A cluster with one executor; everything is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="khala-bench-") as folder:
        up = ["up", "--detach", "--json", "--port=0", f"--data-dir={folder}"]
        up += [f"--slots={slots}", f"--judicators={judicators}"]
        done = subprocess.run([*KHALA, *up], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        answer = json.loads(done.stdout)
        try:
            headers = {"Authorization": f"Bearer {answer['token']}"}
            with httpx.Client(base_url=answer["gateway"], headers=headers, timeout=120.0) as client:
                yield Cluster(
                    folder=Path(folder),
                    url=answer["gateway"],
                    token=answer["token"],
                    etcd=_etcd_of(Path(folder)),
                    pids={name: pid for name, pid in answer["pids"].items() if name != "supervisor"},
                    http=client,
                )
        finally:
            down = [*KHALA, "down", f"--data-dir={folder}"]
            subprocess.run(down, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait(condition: Callable[[], bool], what: str, *, within_s: float = 60.0, every_s: float = 0.05) -> None:
    """Look until `condition` holds; SystemExit when it takes too long."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {within_s:g} s: {what}")
        time.sleep(every_s)


def _etcd_of(folder: Path) -> str:
    ports = json.loads((folder / "cluster.json").read_text())["ports"]
    return f"127.0.0.1:{ports['judicator-1.etcd_client']}"
