"""The control plane alone: tasks from submit to settled outcome, with executors that run nothing.

    python -m bench.control_plane [--tasks 5000] [--repeats 3] [--executors 4] [--depth 0] [--json FILE]

Everything else is as in earnest: HTTP batches, majority-journaled writes, the real wire. `--depth` tasks
that no executor suits wait in the queue meanwhile. Prints the rate, each process's CPU time per task, and
how long the scheduler's passes were.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.cluster import Cluster, running, wait
from bench.command import tell, words_of
from bench.fleet import LABELS

TASK = {"execute": {"command": ["sh", "-c", "true"]}, "name": "bench", "constraints": LABELS}
STUCK = {"execute": {"command": "true"}, "constraints": {"place": "nowhere"}, "priority": -100}


@contextlib.contextmanager
def fleet(cluster: Cluster, *, executors: int, slots: int) -> Iterator[subprocess.Popen[str]]:
    """Simulated executors that the leader knows."""
    command = [sys.executable, "-m", "bench.fleet", f"--etcd={cluster.etcd}"]
    command += [f"--secret-file={cluster.folder / 'secret'}", f"--executors={executors}", f"--slots={slots}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise SystemExit("the simulated executors did not come up")
            wait(lambda: _known(cluster) >= executors, "executors that the leader knows", within_s=120.0)
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60.0)


def rate(
    cluster: Cluster, tasks: int, depth: int = 0, task: Mapping[str, Any] = TASK
) -> tuple[float, dict[str, float]]:
    """Tasks per second from the first POST until the last outcome is settled, and CPU ms per task."""
    before, began = cluster.cpu_s(), time.perf_counter()
    last = cluster.submit(tasks, task)[-1]
    cluster.wait_until_settled(last, depth)
    took_s = time.perf_counter() - began
    after = cluster.cpu_s()
    return tasks / took_s, {name: 1000 * (after[name] - before.get(name, 0.0)) / tasks for name in after}


def measure(tasks: int, repeats: int, executors: int, slots: int, depth: int) -> dict[str, Any]:
    """All figures of one cluster."""
    with running(slots=1) as cluster, fleet(cluster, executors=executors, slots=slots):
        empty_bytes = cluster.memory_bytes("judicator-1")
        cluster.submit(depth, STUCK)
        full_bytes = cluster.memory_bytes("judicator-1")
        rate(cluster, min(tasks, 1_000), depth)
        found = [rate(cluster, tasks, depth) for _ in range(repeats)]
        pass_ms = 1000 * bound_of(cluster, "khala_scheduler_pass_seconds", share=0.99)
    return {
        "tasks": tasks,
        "executors": executors,
        "slots": slots,
        "depth": depth,
        "tasks_per_s": [round(each) for each, _ in found],
        "cpu_ms_per_task": {
            name: round(statistics.median(cpu[name] for _, cpu in found), 3) for name in found[0][1]
        },
        "scheduler_pass_p99_at_most_ms": pass_ms,
        "bytes_per_queued_task": round((full_bytes - empty_bytes) / depth) if depth else None,
    }


def bound_of(cluster: Cluster, histogram: str, *, share: float) -> float:
    """What at least this share of all observations is at most, as exactly as its buckets tell."""
    told = cluster.http.get("/metrics").raise_for_status().text
    buckets = [
        (float(sample.labels["le"]), sample.value)
        for family in text_string_to_metric_families(told)
        for sample in family.samples
        if sample.name == f"{histogram}_bucket"
    ]
    return min(bound for bound, count in buckets if count >= share * max(count for _, count in buckets))


def _known(cluster: Cluster) -> int:
    found = cluster.http.get("/api/v1/executors").raise_for_status().json()["executors"]
    return sum(bool(one["slots"]) and one["labels"] == LABELS for one in found)


def main() -> None:
    """Measure and print."""
    words = words_of(__doc__)
    words.add_argument("--tasks", type=int, default=5_000)
    words.add_argument("--repeats", type=int, default=3)
    words.add_argument("--executors", type=int, default=4)
    words.add_argument("--slots", type=int, default=100)
    words.add_argument("--depth", type=int, default=0)
    options = words.parse_args()
    found = measure(options.tasks, options.repeats, options.executors, options.slots, options.depth)
    tell(found, options.json)


if __name__ == "__main__":
    main()
