"""Where the time of one process of the cluster goes while the control plane is busy, by py-spy.

    python -m bench.profile [judicator-1] [--seconds 10] [--gil] [--folder build/bench]

Writes profile.svg, and prints which threads and functions had how much of it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from bench.cluster import Cluster, running
from bench.control_plane import TASK, fleet, rate
from bench.idle import REAL

SPY = str(Path(sys.executable).parent / "py-spy")
RATE_HZ = 200
SHOWN = 25


def record(cluster: Cluster, who: str, seconds: int, file: Path, *, kind: str, gil: bool) -> None:
    """Let py-spy watch the process while tasks pass."""
    command = [SPY, "record", f"--pid={cluster.pids[who]}", f"--format={kind}", f"--rate={RATE_HZ}"]
    command += [f"--duration={seconds}", f"--output={file}", "--threads", *(["--gil"] if gil else [])]
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            rate(cluster, 500, task=REAL if who.startswith("executor") else TASK)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    finally:
        ended.set()
        thread.join()


def summary(file: Path) -> str:
    """Shares by thread, by function alone, and by function with what it calls."""
    by_thread: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for line in file.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        by_thread[thread] += int(count)
        names = [frame.rpartition(":")[0] for frame in frames]
        alone[names[-1] if names else thread] += int(count)
        for name in set(names):
            below[name] += int(count)
    total = sum(by_thread.values()) or 1
    lines = []
    for title, counts in (("threads", by_thread), ("alone", alone), ("with what they call", below)):
        lines += ["", title]
        lines += [f"{100 * count / total:5.1f} %  {name}" for name, count in counts.most_common(SHOWN)]
    return "\n".join(lines)


def main() -> None:
    """Profile twice: for the eye, and in words."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    words.add_argument("who", nargs="?", default="judicator-1")
    words.add_argument("--seconds", type=int, default=10)
    words.add_argument("--gil", action="store_true", help="only what holds Python's lock")
    words.add_argument("--folder", type=Path, default=Path("build/bench"))
    options = words.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    told = {"seconds": options.seconds, "gil": options.gil}
    with running(slots=2) as cluster, fleet(cluster, executors=4, slots=100):
        svg, raw = options.folder / "profile.svg", options.folder / "profile.raw"
        record(cluster, options.who, file=svg, kind="flamegraph", **told)
        record(cluster, options.who, file=raw, kind="raw", **told)
    print(summary(raw))


if __name__ == "__main__":
    main()
