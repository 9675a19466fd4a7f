"""How fast bytes go through a cluster: output while it is written, files in and out.

    python -m bench.transfer [--mib 48] [--repeats 3] [--json FILE]

In MB/s, each from the first request to the last byte. Output is that of a task that writes as fast as it
can, read while it runs, as bytes (GET with an offset, again and again) and as server-sent events; all that
is read is in the store by then. A file is stored and read by HTTP, brought to an executor for a task (the
second time it is there already), and collected from one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from bench.cluster import Cluster, running
from bench.command import tell, words_of

MIB = 1 << 20
LINE = "the quick brown fox jumps over the lazy dog"


def written(cluster: Cluster, size: int) -> str:
    """A new task that writes `size` bytes."""
    task = {"execute": {"command": f"yes {LINE} | head -c {size}"}}
    answer = cluster.http.post("/api/v1/tasks", json=task).raise_for_status().json()
    return f"/api/v1/tasks/{answer['id']}/logs/execute/stdout"


def read_raw(cluster: Cluster, size: int) -> None:
    """Read a task's output as bytes while it is written."""
    log, offset = written(cluster, size), 0
    while offset < size:
        answer = cluster.http.get(log, params={"offset": offset})
        if answer.status_code not in (404, 416):
            offset += len(answer.raise_for_status().content)
            if answer.headers["X-Khala-Complete"] == "true" and offset < size and not answer.content:
                raise SystemExit(f"the output ended after {offset} of {size} bytes")
        if not answer.is_success or not answer.content:
            time.sleep(0.005)


def read_events(cluster: Cluster, size: int) -> None:
    """Read a task's output as server-sent events while it is written."""
    log, offset = written(cluster, size), 0
    with cluster.http.stream("GET", log, params={"follow": 1}) as answer:
        for line in answer.raise_for_status().iter_lines():
            if line.startswith("id:"):
                offset = int(line[3:].partition("@")[0])
            if line == "event: end":
                break
    if offset != size:
        raise SystemExit(f"{offset} of {size} bytes came")


def ended(cluster: Cluster, task: dict[str, Any]) -> str:
    """Run a task; its id. SystemExit if it does not succeed."""
    answer = cluster.http.post("/api/v1/tasks?wait=60", json=task).raise_for_status().json()
    if answer["state"] != "succeeded":
        raise SystemExit(f"a task did not succeed: {answer}")
    return str(answer["id"])


def files(cluster: Cluster, size: int, mb_per_s: Callable[[str, Callable[[], Any]], Any]) -> None:
    """Store, read, bring and collect a file that nobody has seen before."""
    content = os.urandom(size)
    headers = {"Content-Type": "application/octet-stream"}
    stored = mb_per_s(
        "a file stored", lambda: cluster.http.post("/api/v1/files", content=content, headers=headers)
    )
    file_id = stored.raise_for_status().json()["sha256"]
    mb_per_s("a file read", lambda: cluster.http.get(f"/api/v1/files/{file_id}").raise_for_status())
    task = {
        "inputs": [{"path": "in", "file_id": file_id}],
        "execute": {"command": f"test $(stat -c %s in) = {size}"},
    }
    mb_per_s("a task with the file, new to its executor", lambda: ended(cluster, task))
    mb_per_s("a task with the file, known there", lambda: ended(cluster, task))
    made = {"execute": {"command": f"head -c {size} /dev/urandom > out"}, "outputs": [{"glob": "out"}]}
    id = mb_per_s("a task whose file is collected", lambda: ended(cluster, made))
    mb_per_s(
        "a collected file read",
        lambda: cluster.http.get(f"/api/v1/tasks/{id}/outputs/out").raise_for_status(),
    )


def measure(mib: int, repeats: int) -> dict[str, Any]:
    """All figures."""
    size, found = mib * MIB, dict[str, list[float]]()

    def mb_per_s(what: str, act: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        answer = act()
        found.setdefault(what, []).append(round(size / 1e6 / (time.perf_counter() - began), 1))
        return answer

    with running(slots=2) as cluster:
        ended(cluster, {"execute": {"command": "true"}})
        for _ in range(repeats):
            mb_per_s("live output, bytes", lambda: read_raw(cluster, size))
            mb_per_s("live output, events", lambda: read_events(cluster, size))
            files(cluster, size, mb_per_s)
    return {"mib": mib, "mb_per_s": found}


def main() -> None:
    """Measure and print."""
    words = words_of(__doc__)
    words.add_argument("--mib", type=int, default=48)
    words.add_argument("--repeats", type=int, default=3)
    options = words.parse_args()
    tell(measure(options.mib, options.repeats), options.json)


if __name__ == "__main__":
    main()
