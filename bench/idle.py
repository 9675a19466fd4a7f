"""One task at a time on an idle cluster, and what a thousand executors cost while nothing happens.

    python -m bench.idle [--count 300] [--executors 200] [--json FILE]

Latency is from POST /api/v1/tasks?wait= to the answer with the outcome: of `sh -c true` on a real executor,
and of the same on a simulated one, which is the control plane's part of it. A cancel is timed from its POST
until the process of a real task is gone. The cost of idling is the CPU time of all processes of the cluster,
in per cent of one CPU, with one executor and with many.
"""

from __future__ import annotations

import os
import select
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench.cluster import Cluster, running, wait
from bench.command import tell, words_of
from bench.control_plane import TASK, fleet

REAL = {"execute": {"command": ["sh", "-c", "true"]}}
ENDLESS = {"execute": {"command": ["sh", "-c", "echo $$; exec sleep 600"]}}
IDLE_S = 10.0


def latencies_ms(cluster: Cluster, count: int, task: Mapping[str, Any]) -> dict[str, float]:
    """Median and 99th percentile over `count` tasks, in milliseconds."""
    took = []
    for turn in range(count + 10):
        began = time.perf_counter()
        answer = cluster.http.post("/api/v1/tasks?wait=30", json=task).raise_for_status().json()
        if turn >= 10:
            took.append(1000 * (time.perf_counter() - began))
        if answer["state"] != "succeeded":
            raise SystemExit(f"a task did not succeed: {answer}")
    return _summary(took)


def cancels_ms(cluster: Cluster, count: int) -> dict[str, float]:
    """Median and 99th percentile of `count` cancels, in milliseconds, until the task's process is gone."""
    took = []
    for _ in range(count):
        (task_id,) = cluster.submit(1, ENDLESS)
        one = f"/api/v1/tasks/{task_id}"

        def said(one: str = one) -> str:
            return cluster.http.get(f"{one}/logs/execute/stdout").raise_for_status().text.strip()

        wait(lambda: bool(said()), f"the output of {task_id}", within_s=60.0)
        process = os.pidfd_open(int(said()))
        began = time.perf_counter()
        cluster.http.post(f"{one}/cancel").raise_for_status()
        if not select.select([process], [], [], 60.0)[0]:
            raise SystemExit(f"the process of {task_id} does not end")
        took.append(1000 * (time.perf_counter() - began))
        os.close(process)
    return _summary(took)


def _summary(took_ms: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(took_ms, n=100)
    return {"p50": round(statistics.median(took_ms), 2), "p99": round(cuts[98], 2)}


def idle_percent(cluster: Cluster) -> float:
    """What the cluster's processes use while nothing happens, in per cent of one CPU."""
    before = sum(cluster.cpu_s().values())
    time.sleep(IDLE_S)
    return round(100 * (sum(cluster.cpu_s().values()) - before) / IDLE_S, 1)


def measure(count: int, executors: int) -> dict[str, Any]:
    """All figures."""
    with running(slots=2) as cluster:
        found: dict[str, Any] = {"real_ms": latencies_ms(cluster, count, REAL)}
        found["cancel_ms"] = cancels_ms(cluster, max(2, count // 2))
        with fleet(cluster, executors=1, slots=2):
            found["simulated_ms"] = latencies_ms(cluster, count, TASK)
            found["idle_percent_1"] = idle_percent(cluster)
        with fleet(cluster, executors=executors, slots=2):
            found[f"idle_percent_{executors}"] = idle_percent(cluster)
    return found


def main() -> None:
    """Measure and print."""
    words = words_of(__doc__)
    words.add_argument("--count", type=int, default=300)
    words.add_argument("--executors", type=int, default=200)
    options = words.parse_args()
    found = measure(options.count, options.executors)
    tell(found, options.json)


if __name__ == "__main__":
    main()
