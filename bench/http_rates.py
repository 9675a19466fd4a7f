"""Requests a second at the gateway: single durable POSTs of a task, and GETs of one, at 64 connections.

    python -m bench.http_rates [--seconds 5] [--repeats 3] [--json FILE]

By wrk (apt-get install wrk). The posted tasks fit no executor, so that only taking them is measured.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from typing import Any

from bench.cluster import Cluster, running
from bench.command import tell, words_of

CONNECTIONS = 64
NOWHERE = {"execute": {"command": "true"}, "constraints": {"place": "nowhere"}}
POST = """
wrk.method = "POST"
wrk.body = [[{body}]]
wrk.headers["Content-Type"] = "application/json"
"""
CHECK = """
done = function(summary) io.write("bad: ", summary.errors.status + summary.errors.timeout, "\\n") end
"""


def rate(cluster: Cluster, path: str, seconds: int, script: str = "") -> tuple[float, dict[str, float]]:
    """Good answers a second, and CPU ms of each process for one; SystemExit when some were bad."""
    before = cluster.cpu_s()
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script + CHECK)
        file.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout=10s", f"-s{file.name}"]
        command += [f"-HAuthorization: Bearer {cluster.token}", f"{cluster.url}{path}"]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    if "bad: 0\n" not in said:
        raise SystemExit(f"not all answers were good:\n{said}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if found is None:
        raise SystemExit(f"wrk said something unexpected:\n{said}")
    per_s = float(found.group(1))
    cpu = {name: 1000 * (used - before.get(name, 0.0)) / seconds for name, used in cluster.cpu_s().items()}
    return round(per_s), {name: round(ms / per_s, 3) for name, ms in cpu.items()}


def measure(seconds: int, repeats: int) -> dict[str, Any]:
    """All figures, in turns."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    found: dict[str, Any] = {"posts_per_s": [], "gets_per_s": []}
    with running(slots=1) as cluster:
        (task_id,) = cluster.submit(1, NOWHERE)
        post = POST.format(body=json.dumps(NOWHERE))
        for _ in range(repeats):
            for name, path, script in (("post", "", post), ("get", f"/{task_id}", "")):
                per_s, cpu = rate(cluster, f"/api/v1/tasks{path}", seconds, script)
                found[f"{name}s_per_s"].append(per_s)
                found[f"{name}_cpu_ms"] = cpu
    return found


def main() -> None:
    """Measure and print."""
    words = words_of(__doc__)
    words.add_argument("--seconds", type=int, default=5)
    words.add_argument("--repeats", type=int, default=3)
    options = words.parse_args()
    found = measure(options.seconds, options.repeats)
    tell(found, options.json)


if __name__ == "__main__":
    main()
