"""A large store: a sweep of 100,000 tasks taken in one request, and lists over 1,000,000 tasks.

    python -m bench.store_size [--sweep 100000] [--tasks 1000000] [--pages 40] [--repeats 5] [--json FILE]

The sweep is one POST /jobs; while its tasks run, its pages are read one after the other, and its CSV as it
streams. Then the store is filled (`bench/filling.py`), and each list and filter is asked over HTTP. Times are
ms at the client, of one request at a time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

from bench.cluster import Cluster, running, wait
from bench.command import tell, words_of
from bench.filling import DAY_S, Filling, fill

PAGE = 100
WITHIN = {"accept_s": 10.0, "page_ms": 50.0, "list_ms": 100.0}


def timed(cluster: Cluster, path: str) -> tuple[float, Mapping[str, Any]]:
    """Milliseconds of one GET, and its answer, be it a refusal."""
    began = time.perf_counter()
    answer = cluster.http.get(path)
    return 1000 * (time.perf_counter() - began), answer.json() | {"status": answer.status_code}


def spread(ms: list[float]) -> dict[str, float]:
    """The middle, and the slowest but for one in twenty."""
    ordered = sorted(ms)
    return {
        "p50": round(statistics.median(ordered), 1),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 1),
        "max": round(ordered[-1], 1),
    }


def sweep(cluster: Cluster, total: int, pages: int) -> dict[str, Any]:
    """One job: how fast it is taken, listed, and streamed while it runs."""
    job = {"task": {"execute": {"command": "true"}, "name": "n-{value}"}, "array": {"range": {"stop": total}}}
    began = time.perf_counter()
    accepted = cluster.http.post("/api/v1/jobs", json=job).raise_for_status().json()
    took_s = time.perf_counter() - began
    path = f"/api/v1/jobs/{accepted['id']}"
    wait(lambda: _created(cluster, path) == total, "all tasks to be made", within_s=600.0, every_s=0.5)
    made_s = time.perf_counter() - began
    lists: list[float] = []
    at = f"/api/v1/tasks?job_id={accepted['id']}&order_by=created_at&page_size={PAGE}"
    token = ""
    for _ in range(pages):
        ms, page = timed(cluster, at + (f"&page_token={token}" if token else ""))
        lists.append(ms)
        token = page["next_page_token"]
    counts = [timed(cluster, path)[0] for _ in range(5)]
    first_ms, size = _stream(cluster, f"{path}/results.csv")
    cluster.http.post(f"{path}/cancel").raise_for_status()
    return {
        "tasks": total,
        "accepted_s": round(took_s, 2),
        "all_made_s": round(made_s, 1),
        "page_ms": spread(lists),
        "job_with_counts_ms": spread(counts),
        "csv_first_line_ms": round(first_ms, 1),
        "csv_bytes_in_2_s": size,
    }


def _created(cluster: Cluster, path: str) -> int:
    job = cluster.http.get(path).raise_for_status().json()
    return sum(job["counts"].values())


def _stream(cluster: Cluster, path: str) -> tuple[float, int]:
    """Milliseconds until the first line of results, and bytes that came within two seconds."""
    began, first, size = time.perf_counter(), 0.0, 0
    with cluster.http.stream("GET", path) as answer:
        for part in answer.iter_bytes():
            size += len(part)
            first = first or (time.perf_counter() - began if size > 200 else 0.0)
            if time.perf_counter() - began > 2.0:
                break
    return 1000 * first, size


def queries(filled: Filling, now: float) -> Mapping[str, str]:
    """What is asked of a full store, in words, and its path."""

    def ago(days: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - days * DAY_S))

    tasks, kv2 = "/api/v1/tasks?page_size=100", "/api/task/list?limit=20"
    return {
        "all, newest": tasks,
        "all, oldest": f"{tasks}&order_by=created_at",
        "all, full view": f"{tasks}&view=full",
        "running": f"{tasks}&state=running",
        "failed": f"{tasks}&state=failed",
        "pending and failed": f"{tasks}&state=pending,failed",
        "of a common user": f"{tasks}&user=1",
        "of a rare user": f"{tasks}&user=777",
        "of no user": f"{tasks}&user=778",
        "a common name": f"{tasks}&name_prefix=sim-",
        "a rare name": f"{tasks}&name_prefix=rare",
        "no name": f"{tasks}&name_prefix=none",
        "a common label": f"{tasks}&label=team%3Dblue",
        "a rare label": f"{tasks}&label=rare",
        "no label": f"{tasks}&label=none",
        "a common executor": f"{tasks}&executor=executor-3",
        "no executor": f"{tasks}&executor=none",
        "a common exit reason": f"{tasks}&exit_reason=exited",
        "a rare exit reason": f"{tasks}&exit_reason=crash_limit",
        "no exit reason": f"{tasks}&exit_reason=disk_limit",
        "failed, no name": f"{tasks}&state=failed&name_prefix=none",
        "of a common user, no label": f"{tasks}&user=1&label=none",
        "of 2 days": f"{tasks}&created_after={ago(12)}&created_before={ago(10)}",
        "of 2 days, no name": f"{tasks}&created_after={ago(12)}&created_before={ago(10)}&name_prefix=none",
        "of no time": f"{tasks}&created_before={ago(400)}",
        "after the middle": f"{tasks}&page_token={filled.middle}",
        "of a job": f"{tasks}&job_id={filled.job_id}",
        "of a job, failed": f"{tasks}&job_id={filled.job_id}&state=failed",
        "jobs": "/api/v1/jobs",
        "stats": "/api/v1/stats",
        "kv2, all": kv2,
        "kv2, all, page 1,000": f"{kv2}&page=1000",
        "kv2, of a common user": f"{kv2}&user=1",
        "kv2, of a rare user": f"{kv2}&user=777",
        "kv2, of 2 days": f"{kv2}&start_time={ago(12)}&end_time={ago(10)}",
    }


def lists(cluster: Cluster, count: int, repeats: int) -> dict[str, Any]:
    """Fill the store, and ask everything."""
    began = time.perf_counter()
    filled = fill(cluster.folder, count)
    filled_s = time.perf_counter() - began
    print(f"filled after {filled_s:.0f} s", flush=True)
    found = {}
    for words, path in queries(filled, time.time()).items():
        asked = [timed(cluster, path) for _ in range(repeats)]
        shown = asked[0][1].get("tasks", ())
        found[words] = spread([ms for ms, _ in asked]) | {
            "found": len(shown),
            "status": asked[0][1]["status"],
        }
        print(f"{words}: {found[words]}", flush=True)
    slow = [words for words, one in found.items() if one["p50"] > WITHIN["list_ms"]]
    return {"tasks": count, "filled_s": round(filled_s), "ms": found, "slower_than_100_ms": slow}


def main() -> None:
    """Measure and print."""
    words = words_of(__doc__)
    words.add_argument("--sweep", type=int, default=100_000, help="tasks of the job; 0 leaves it out")
    words.add_argument("--tasks", type=int, default=1_000_000, help="tasks in the store; 0 leaves it out")
    words.add_argument("--pages", type=int, default=40)
    words.add_argument("--repeats", type=int, default=5)
    options = words.parse_args()
    found: dict[str, Any] = {}
    with running(slots=2) as cluster:
        if options.sweep:
            found["sweep"] = sweep(cluster, options.sweep, options.pages)
            print(found["sweep"], flush=True)
        if options.tasks:
            found["lists"] = lists(cluster, options.tasks, options.repeats)
    tell(found, options.json)


if __name__ == "__main__":
    main()
