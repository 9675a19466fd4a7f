"""Short commands end to end, beside `xargs -P` and beside bare processes, in the same run.

    python bench/throughput.py [--tasks 2000] [--repeats 3] [--json FILE]

Brings up a cluster of its own (`khala up`) in a temporary directory, and measures in turns: `sh -c
true` through POST /api/v1/tasks/batch until the last one is finished; the same commands by xargs; and
by as many threads of subprocess.run as there are slots. Then the latency of single tasks on the idle
cluster, from POST /api/v1/tasks?wait= to the answer. Medians over the repeats, ratios within one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

COMMAND = ["sh", "-c", "true"]
BATCH = 1_000


@contextlib.contextmanager
def cluster(slots: int) -> Iterator[httpx.Client]:
    """A running cluster's HTTP API, authorised."""
    khala = [sys.executable, "-m", "khala.cli.main"]
    with tempfile.TemporaryDirectory(prefix="khala-bench-") as folder:
        up = ["up", "--detach", "--json", "--port", "0", "--slots", str(slots), "--data-dir", folder]
        answer = json.loads(subprocess.run([*khala, *up], check=True, stdout=subprocess.PIPE).stdout)
        try:
            headers = {"Authorization": f"Bearer {answer['token']}"}
            with httpx.Client(base_url=answer["gateway"], headers=headers, timeout=120.0) as client:
                yield client
        finally:
            subprocess.run([*khala, "down", "--data-dir", folder], check=True, stdout=subprocess.DEVNULL)


def khala_rate(client: httpx.Client, tasks: int) -> float:
    """Tasks per second from the first POST until the last task is finished."""
    task = {"execute": {"command": COMMAND}, "name": "bench"}
    began = time.perf_counter()
    ids = []
    for first in range(0, tasks, BATCH):
        batch = {"tasks": [task] * min(BATCH, tasks - first)}
        answer = client.post("/api/v1/tasks/batch", json=batch).raise_for_status().json()
        ids += [result["id"] for result in answer["results"]]
    while True:
        counts = client.get("/api/v1/stats").raise_for_status().json()["tasks"]
        if not any(counts.get(state, 0) for state in ("pending", "assigned", "running")):
            break
        time.sleep(0.1)  # each look counts tasks, at the cluster's expense
    rate = tasks / (time.perf_counter() - began)
    last = client.get(f"/api/v1/tasks/{ids[-1]}").raise_for_status().json()
    if last["state"] != "succeeded":
        raise SystemExit(f"the last task did not succeed: {last}")
    return rate


def khala_latencies(client: httpx.Client, count: int) -> list[float]:
    """Seconds from POST to the finished task, one at a time, sorted."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        answer = client.post("/api/v1/tasks?wait=30", json={"execute": {"command": COMMAND}})
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
    with cluster(slots) as client:
        khala_rate(client, min(tasks, 200))
        for _ in range(repeats):
            rates["khala"].append(khala_rate(client, tasks))
            rates["xargs"].append(xargs_rate(tasks, slots))
            rates["subprocess"].append(process_rate(tasks, slots))
        latencies = khala_latencies(client, 200)
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


def table(found: dict[str, object]) -> str:
    """The figures for a reader."""
    rates, ratios, latency = found["tasks_per_s"], found["ratio"], found["latency_ms"]
    if not (isinstance(rates, dict) and isinstance(ratios, dict) and isinstance(latency, dict)):
        raise TypeError("not the figures of measure()")
    lines = [f"{found['tasks']} × sh -c true, {found['slots']} slots; {found['machine']}", ""]
    for name, values in rates.items():
        ratio = f"khala is {ratios[name]:.2f} of it" if name in ratios else ""
        spread = f"{min(values):.0f} to {max(values):.0f}"
        lines.append(f"{name:12} {statistics.median(values):8.0f} tasks/s  ({spread})  {ratio}")
    lines += ["", f"one task on the idle cluster: p50 {latency['p50']} ms, p99 {latency['p99']} ms"]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=2000, help="tasks per repeat (default: 2000)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats (default: 3)")
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1, help="slots (default: CPUs)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    found = measure(options.tasks, options.repeats, options.slots)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))


if __name__ == "__main__":
    main()
