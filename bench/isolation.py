"""What isolation costs, and what it is worth: beside plain processes and beside bwrap, in the same run.

    python bench/isolation.py [--tasks 200] [--repeats 5] [--json FILE]

First the time of one `/bin/true` at each level that holds here, through an executor's launchers and
nothing else, next to subprocess.run of the same, of bwrap with a plain box as root, and of bwrap as a
task's user with the very box of `strict`; taken in turns, medians of all. Then how much longer a
neighbour's fixed piece of work takes while slot 0 is attacked than alone just before, the median of such
ratios; on a machine with as many CPUs as busy slots 1.0 is perfect. Run it as root.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from khala.core.task import Command, Isolation, Limits, TaskSpec
from khala.execution.job import Job, JobEnded, LauncherEvent
from khala.execution.launching.box import Box
from khala.execution.pool import LauncherPool
from khala.execution.probing import HostIsolation, probe_isolation
from khala.execution.settings import ExecutionSettings, prepare_workspace_root

UID_BASE, OTHER_UID = 64300, 64299
BOX = [
    "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr",
    "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
    "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--",
]  # fmt: skip
WORK = "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done"
ATTACKS = {
    "fork bomb": ("b() { b | b & }; for i in 1 2 3 4 5 6 7 8; do b; done; sleep 3", Limits(processes=64)),
    "memory hog": ("while :; do head -c 400000000 /dev/zero | tail; done", Limits(memory_bytes=64 << 20)),
    "endless output": ("exec cat /dev/zero", Limits(output_bytes=1 << 40)),
    "disk filler": ("while :; do head -c 100000000 /dev/zero > f; done", Limits(disk_bytes=128 << 20)),
    "spinning": ("for i in 1 2 3 4; do while :; do :; done & done; wait", Limits()),
}
ATTACK_S = 3.0


class OneUser:
    """A process of a task's user, which runs a command whenever it is told to: each start is as cheap as
    that of the other plain ways."""

    def __init__(self, argv: Sequence[str], uid: int) -> None:
        self._mine, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            os.chdir("/")
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            self._mine.close()
            while theirs.recv(1):
                done = subprocess.run(argv, check=False, capture_output=True)
                theirs.send(bytes([done.returncode]))
            os._exit(0)
        theirs.close()

    def run(self) -> None:
        self._mine.send(b"!")
        if self._mine.recv(1) != b"\0":
            raise ChildProcessError("the command failed")

    def close(self) -> None:
        self._mine.close()
        os.waitpid(self._pid, 0)


@contextmanager
def boxed_alone() -> Iterator[OneUser]:
    """bwrap with the box of `strict`, and nothing of Khala around it."""
    with tempfile.TemporaryDirectory(prefix="khala-bench-", dir="/var/tmp") as folder:
        # Not a slot's user: whatever that leaves in such a place is removed after each task.
        os.chown(folder, OTHER_UID, OTHER_UID)
        box = Box("bwrap", (OTHER_UID, OTHER_UID), [])
        options = box.arguments(folder, {}, network=False, tmp_bytes=0)
        one = OneUser(["bwrap", *options, "--remount-ro", "/", "--", "/bin/true"], OTHER_UID)
        try:
            yield one
        finally:
            one.close()


class Slots:
    """Two slots of one pool."""

    def __init__(self, pool: LauncherPool, ends: queue.SimpleQueue[JobEnded]) -> None:
        self._pool = pool
        self._ends = ends
        self._numbers = count(1)
        self._ended: dict[int, JobEnded] = {}

    def start(self, slot: int, spec: TaskSpec) -> None:
        self._pool.run(slot, Job(task_id=f"{next(self._numbers):024x}", attempt=1, spec=spec))

    def end(self, slot: int) -> JobEnded:
        while slot not in self._ended:
            ended = self._ends.get(timeout=60)
            self._ended[ended.slot] = ended
        return self._ended.pop(slot)

    def abort(self, slot: int) -> None:
        self._pool.abort(slot, kill_grace_s=0)


@contextmanager
def slots() -> Iterator[tuple[Slots, HostIsolation]]:
    """Launchers with all that holds here."""
    with tempfile.TemporaryDirectory(prefix="khala-bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        plain = ExecutionSettings(slots=2, workspace_root=Path(folder) / "root", uid_base=UID_BASE)
        prepare_workspace_root(plain.workspace_root, plain.slot_uid(0))
        host = probe_isolation(plain)
        ends: queue.SimpleQueue[JobEnded] = queue.SimpleQueue()

        def listen(event: LauncherEvent) -> None:
            if isinstance(event, JobEnded):
                ends.put(event)

        pool = LauncherPool(host.apply(plain), listen)
        pool.start()
        try:
            yield Slots(pool, ends), host
        finally:
            pool.close()


def overhead(pair: Slots, host: HostIsolation, boxed: OneUser, tasks: int) -> dict[str, float]:
    """Median milliseconds of each way to run /bin/true, taken in turns."""
    ways: dict[str, Callable[[], object]] = {
        "subprocess.run": lambda: subprocess.run(["/bin/true"], check=True, capture_output=True),
        "bwrap alone": lambda: subprocess.run([*BOX, "/bin/true"], check=False, capture_output=True),
        "bwrap, that box": boxed.run,
    }
    for level in host.levels:
        spec = TaskSpec(execute=Command(argv=("/bin/true",)), isolation=level)
        ways[level.value] = lambda spec=spec: (pair.start(0, spec), pair.end(0))  # type: ignore[misc]
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(tasks + 5):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if turn >= 5:
                took[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(times) for name, times in took.items()}


def slowdown(pair: Slots, level: Isolation, repeats: int) -> dict[str, float]:
    """How much longer the neighbour's work takes during each attack than alone."""
    work = TaskSpec(execute=Command(shell=WORK), isolation=level)

    def took() -> float:
        pair.start(1, work)
        result = pair.end(1).outcome.result
        assert result is not None and result.execute is not None
        return result.execute.wall_time_s

    ratios: dict[str, list[float]] = {name: [] for name in ATTACKS}
    for _ in range(repeats):
        for name, (script, limits) in ATTACKS.items():
            alone_s = took()
            bounds = {
                "wall_time_s": ATTACK_S, "processes": limits.processes or 64,
                "memory_bytes": limits.memory_bytes, "output_bytes": limits.output_bytes,
                "disk_bytes": limits.disk_bytes,
            }  # fmt: skip
            command = Command(shell=script, limits=Limits(**bounds))  # type: ignore[arg-type]
            pair.start(0, TaskSpec(execute=command, isolation=level))
            ratios[name].append(took() / alone_s)
            pair.abort(0)
            pair.end(0)
    return {name: statistics.median(found) for name, found in ratios.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with boxed_alone() as boxed, slots() as (pair, host):
        median_ms = overhead(pair, host, boxed, asked.tasks)
        levels = host.levels if asked.repeats else ()
        attacked = {level.value: slowdown(pair, level, asked.repeats) for level in levels}
    plain = median_ms["subprocess.run"]
    print(f"{'one /bin/true':<16} {'median':>9} {'ratio':>6}")
    for name, value in median_ms.items():
        print(f"{name:<16} {value:>6.2f} ms {value / plain:>6.2f}")
    print("\nneighbour's slowdown during " + ", ".join(ATTACKS))
    for level, ratios in attacked.items():
        print(f"{level:<16} " + " ".join(f"{ratio:>6.2f}" for ratio in ratios.values()))
    if asked.json:
        about = {"python": platform.python_version(), "kernel": platform.release(), "cpus": os.cpu_count()}
        asked.json.write_text(
            json.dumps({"about": about, "median_ms": median_ms, "slowdown": attacked}, indent=1)
        )


if __name__ == "__main__":
    main()
