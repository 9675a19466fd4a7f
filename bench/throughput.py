"""Short commands end to end, beside `xargs -P` and beside bare processes, in the same run.

    python -m bench.throughput [--tasks 2000] [--repeats 3] [--json FILE]

Brings up a cluster of its own (`khala up`) in a temporary directory, and measures in turns: `sh -c
true` through POST /api/v1/tasks/batch until the last one is finished; the same commands by xargs; and
by as many threads of subprocess.run as there are slots. Then the latency of single tasks on the idle
cluster, from POST /api/v1/tasks?wait= to the answer. Medians over the repeats, ratios within one.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from bench.cluster import Cluster, running
from bench.command import tell, words_of

COMMAND = ["sh", "-c", "true"]


def khala_rate(cluster: Cluster, tasks: int) -> float:
    """Tasks per second from the first POST until the last task is finished."""
    began = time.perf_counter()
    last = cluster.submit(tasks, {"execute": {"command": COMMAND}, "name": "bench"})[-1]
    cluster.wait_until_settled(last)
    rate = tasks / (time.perf_counter() - began)
    told = cluster.http.get(f"/api/v1/tasks/{last}").raise_for_status().json()
    if told["state"] != "succeeded":
        raise SystemExit(f"the last task did not succeed: {told}")
    return rate


def khala_latencies(cluster: Cluster, count: int) -> list[float]:
    """Seconds from POST to the finished task, one at a time, sorted."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        answer = cluster.http.post("/api/v1/tasks?wait=30", json={"execute": {"command": COMMAND}})
        seconds.append(time.perf_counter() - began)
        if answer.raise_for_status().json()["state"] != "succeeded":
            raise SystemExit(f"a task did not succeed: {answer.text}")
    return sorted(seconds)


def xargs_rate(tasks: int, slots: int) -> float:
    """The same commands by xargs -P."""
    lines = "\n".join("true" for _ in range(tasks))
    began = time.perf_counter()
    xargs = ["xargs", f"-P{slots}", "-n1", "sh", "-c"]
    subprocess.run(xargs, input=lines.encode(), check=True, stdout=subprocess.DEVNULL)
    return tasks / (time.perf_counter() - began)


def process_rate(tasks: int, slots: int) -> float:
    """The same commands by threads that call subprocess.run, output captured."""
    began = time.perf_counter()
    with ThreadPoolExecutor(slots) as pool:
        for done in pool.map(
            lambda _: subprocess.run(COMMAND, capture_output=True, check=True), range(tasks)
        ):
            del done
    return tasks / (time.perf_counter() - began)


def measure(tasks: int, repeats: int, slots: int) -> dict[str, object]:
    """All figures."""
    rates: dict[str, list[float]] = {"khala": [], "xargs": [], "subprocess": []}
    with running(slots=slots) as cluster:
        khala_rate(cluster, min(tasks, 200))
        for _ in range(repeats):
            rates["khala"].append(khala_rate(cluster, tasks))
            rates["xargs"].append(xargs_rate(tasks, slots))
            rates["subprocess"].append(process_rate(tasks, slots))
        latencies = khala_latencies(cluster, 200)
    ratios = {
        peer: statistics.median(k / p for k, p in zip(rates["khala"], rates[peer], strict=True))
        for peer in ("xargs", "subprocess")
    }
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        "tasks": tasks,
        "slots": slots,
        "tasks_per_s": {name: [round(rate, 1) for rate in values] for name, values in rates.items()},
        "ratio": {name: round(value, 3) for name, value in ratios.items()},
        "latency_ms": {
            "p50": round(1000 * latencies[len(latencies) // 2], 2),
            "p99": round(1000 * latencies[int(len(latencies) * 0.99)], 2),
        },
    }


def main() -> None:
    """Measure and print."""
    words = words_of(__doc__)
    words.add_argument("--tasks", type=int, default=2000, help="per repeat")
    words.add_argument("--repeats", type=int, default=3)
    words.add_argument("--slots", type=int, default=os.cpu_count() or 1)
    options = words.parse_args()
    tell(measure(options.tasks, options.repeats, options.slots), options.json)


if __name__ == "__main__":
    main()
