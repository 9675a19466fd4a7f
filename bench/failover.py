"""How long a cluster of 3 judicators and 4 executors stands still when it loses one.

    python bench/failover.py [--repeats 3] [--queued 100000] [--json FILE]

Brings up a cluster of its own (`khala up`) in a temporary directory, submits a short task every 50 ms,
and kills with -9, in turns: the leading judicator (its etcd and mongod end with it), an executor with
running tasks, and the Python process, etcd and mongod of the primary's judicator at the same moment.
Prints medians, in seconds: from the kill to the next assignment; the longest time without an acknowledged
write; from the kill to the lost tasks' next attempts. The killed process is started again by `khala up`,
and waited for, before the next turn. `--queued` tasks that no executor suits wait in the queue meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from khala.client import Client
from khala.errors import KhalaError

KHALA = [sys.executable, "-m", "khala.cli.main"]
SETTLED_WITHIN_S = 90.0
QUEUED_AT_ONCE = 5_000
TARGETS_S = {"next assignment": 5.0, "lost task assigned again": 8.0, "writes again, computer lost": 8.0}


class Cluster:
    """The cluster under test; `folder` is its data directory."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        size = ["--judicators", "3", "--executors", "4", "--slots", "1"]
        up = [*KHALA, "up", "--detach", "--json", "--port", "0", "--data-dir", folder, *size]
        self.answer = json.loads(subprocess.run(up, check=True, stdout=subprocess.PIPE).stdout)
        self.client = Client(self.answer["gateway"], self.answer["token"], patience_s=30.0)

    def kill(self, name: str) -> float:
        """kill -9 the role process `name`; the Unix time of it."""
        record = json.loads((Path(self.folder) / "cluster.json").read_text())
        pid = next(entry["identity"]["pid"] for entry in record["processes"] if entry["name"] == name)
        os.kill(pid, signal.SIGKILL)
        return time.time()

    def kill_computer(self, name: str) -> float:
        """kill -9 a judicator with its etcd and its mongod at once; the Unix time of it."""
        place = f"{self.folder}/{name}/"
        servers = [
            process.pid
            for process in psutil.process_iter(["name", "cmdline"])
            if process.info["name"] in ("etcd", "mongod")
            and any(place in word for word in process.info["cmdline"] or ())
        ]
        for pid in servers:
            os.kill(pid, signal.SIGKILL)
        return self.kill(name)

    def whole(self) -> bool:
        """Is it as strong as it should be?"""
        try:
            cluster = self.client.cluster()
            return bool(cluster["ready"]) and cluster["survives"] == 1 and len(self.client.executors()) == 4
        except KhalaError:
            return False

    def leader(self) -> str:
        return str(self.client.cluster()["leader"])

    def primary(self) -> str:
        return next(one["name"] for one in self.client.judicators() if one["replica_state"] == "primary")

    def queue(self, count: int) -> None:
        """Let that many tasks wait that no executor suits."""
        task = {"execute": {"command": "true"}, "constraints": {"place": "nowhere"}, "priority": -100}
        for begun in range(0, count, QUEUED_AT_ONCE):
            self.client.submit_many([task] * min(QUEUED_AT_ONCE, count - begun))

    def down(self) -> None:
        self.client.close()
        subprocess.run([*KHALA, "down", "--data-dir", self.folder], check=True, stderr=subprocess.DEVNULL)


class Load:
    """Submits a task every 50 ms from a thread, and remembers when each was acknowledged."""

    def __init__(self, cluster: Cluster) -> None:
        self.ids: list[str] = []
        self.acknowledged: list[float] = []
        self._client = Client(cluster.answer["gateway"], cluster.answer["token"], patience_s=30.0)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(0.05):
            self.ids.append(self._client.submit({"execute": {"command": "true"}, "name": "load"}))
            self.acknowledged.append(time.time())

    def stop(self) -> None:
        self._end.set()
        self._thread.join()
        self._client.close()

    def longest_gap_s(self) -> float:
        return max(later - earlier for earlier, later in itertools.pairwise(self.acknowledged))


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {SETTLED_WITHIN_S} s: {what}")
        time.sleep(0.1)


def assigned_at(task: Mapping[str, Any], attempt: int = 0) -> list[float]:
    """Unix times at which it was assigned (as `attempt`, if given)."""
    return [
        datetime.fromisoformat(event["at"]).timestamp()
        for event in task["events"]
        if event["to"] == "assigned" and attempt in (0, event["attempt"])
    ]


def lose_leader(cluster: Cluster) -> Mapping[str, float]:
    load = Load(cluster)
    wait(lambda: len(load.ids) > 40, "the load")
    at = cluster.kill(cluster.leader())
    wait(lambda: time.time() > at + 10.0, "ten seconds")
    load.stop()
    tasks = [cluster.client.get(id).raw for id in load.ids]
    later = [when for task in tasks for when in assigned_at(task) if when > at + 0.2]
    wait(cluster.whole, "the killed judicator's return")
    return {"next assignment": min(later) - at, "longest time without a write": load.longest_gap_s()}


def lose_computer(cluster: Cluster) -> Mapping[str, float]:
    load = Load(cluster)
    wait(lambda: len(load.ids) > 40, "the load")
    at = cluster.kill_computer(cluster.primary())
    wait(lambda: time.time() > at + 10.0, "ten seconds")
    load.stop()
    wait(cluster.whole, "the lost computer's return")
    return {"writes again, computer lost": load.longest_gap_s()}


def lose_executor(cluster: Cluster) -> Mapping[str, float]:
    ids = [cluster.client.submit({"execute": {"command": "sleep 4"}}) for _ in range(4)]
    wait(lambda: all(cluster.client.get(id).state == "running" for id in ids), "four running tasks")
    victim = next(id for id in ids)
    at = cluster.kill(cluster.client.get(victim).executor)
    wait(lambda: bool(assigned_at(cluster.client.get(victim).raw, 2)), "a second attempt")
    again = assigned_at(cluster.client.get(victim).raw, 2)[0]
    wait(lambda: all(cluster.client.get(id).finished for id in ids) and cluster.whole(), "the end")
    return {"lost task assigned again": again - at}


@contextlib.contextmanager
def running() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="khala-bench-") as folder:
        cluster = Cluster(folder)
        try:
            wait(cluster.whole, "a whole cluster")
            yield cluster
        finally:
            cluster.down()


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    words.add_argument("--repeats", type=int, default=3)
    words.add_argument("--queued", type=int, default=0, help="tasks that wait in the queue meanwhile")
    words.add_argument("--json", type=Path)
    options = words.parse_args()
    figures: dict[str, list[float]] = {}
    with running() as cluster:
        cluster.queue(options.queued)
        for _ in range(options.repeats):
            for lose in (lose_leader, lose_executor, lose_computer):
                for what, seconds in lose(cluster).items():
                    figures.setdefault(what, []).append(round(seconds, 2))
    for what, seconds_each in figures.items():
        target = f"at most {TARGETS_S[what]:g} s" if what in TARGETS_S else ""
        print(f"{what:32} median {statistics.median(seconds_each):5.2f} s  {target:15} {seconds_each}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
