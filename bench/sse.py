"""What followers that misbehave cost a gateway: its memory, and how long others wait for an answer.

    python bench/sse.py [--readers 200] [--requests 400] [--json FILE]

Brings up a cluster of its own and measures GET /api/v1/stats one after the other, first with nobody else
there and then with a crowd on server-sent events: a third never reads, a third reads a little now and then, a
third is gone without a word in the middle and comes back, again and again. The crowd is a process of its own,
so that it takes no time from the one who measures but the machine's. Prints both distributions, the ratio of
their p99, and the memory of the gateway's processes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import socket
import statistics
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench.cluster import running

STREAMING = "head -c 6000000 /dev/zero | tr '\\0' x; sleep 600"
"""More than the kernel buffers of a connection take."""
_SMALL_BUFFER = 4096
_LOOK_EVERY_S = 0.05
_STAYS_S = 1.0


class Crowd:
    """Readers of one gateway, as many as `readers`; `paths` are followed in turn. One thread of its own. A
    third of them vanish after about a second, each in its own time, and come back."""

    def __init__(self, url: str, token: str, paths: Sequence[str], readers: int) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._requests = [
            f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
            for path in paths
        ]
        self._kinds: list[Callable[[int, socket.socket], socket.socket]] = [
            self._silent,
            self._slow,
            self._vanish,
        ]
        self._readers = readers
        self._stop = threading.Event()
        self._leaves_at: dict[int, float] = {}
        self.opened = 0
        self.answered = 0
        self.vanished = 0

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """All of them are there within the block, and gone after it."""
        with ExitStack() as stack:
            sockets = [self._open(number) for number in range(self._readers)]
            thread = threading.Thread(target=self._misbehave, args=(sockets,))
            stack.callback(lambda: [one.close() for one in sockets])
            stack.callback(thread.join)
            stack.callback(self._stop.set)
            self._stop.clear()
            thread.start()
            yield

    def _open(self, number: int) -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        one.settimeout(30)
        one.connect(self._address)
        one.sendall(self._requests[number % len(self._requests)])
        one.setblocking(False)
        self.opened += 1
        return one

    def _misbehave(self, sockets: list[socket.socket]) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            for number, one in enumerate(sockets):
                sockets[number] = self._kinds[number % len(self._kinds)](number, one)

    def _silent(self, number: int, one: socket.socket) -> socket.socket:
        del number
        return one

    def _slow(self, number: int, one: socket.socket) -> socket.socket:
        del number
        try:
            self.answered += one.recv(256).startswith(b"HTTP/1.1 200")
        except BlockingIOError:
            return one
        return one

    def _vanish(self, number: int, one: socket.socket) -> socket.socket:
        """Gone with a reset after a while, whatever has come, and another in its place."""
        with contextlib.suppress(BlockingIOError):
            self.answered += one.recv(4096).startswith(b"HTTP/1.1 200")
        stays_s = random.uniform(0.5, 1.5) * _STAYS_S
        if time.monotonic() < self._leaves_at.setdefault(number, time.monotonic() + stays_s):
            return one
        del self._leaves_at[number]
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
        self.vanished += 1
        return self._open(number)


def misbehave(url: str, token: str, paths: Sequence[str], readers: int, parent: Connection) -> None:
    """Be a crowd in a process of its own; tells `parent` that it is there, and, when that says stop, how many
    of it vanished."""
    crowd = Crowd(url, token, paths, readers)
    with crowd.gathered():
        parent.send("gathered")
        parent.recv()
    parent.send(crowd.vanished)


@contextmanager
def crowded(url: str, token: str, paths: Sequence[str], readers: int) -> Iterator[list[int]]:
    """A crowd is there within the block; after it the list has the number of those who vanished."""
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe()
    process = spawn.Process(target=misbehave, args=(url, token, paths, readers, theirs), daemon=True)
    vanished: list[int] = []
    process.start()
    theirs.close()
    mine.recv()
    yield vanished
    mine.send("stop")
    vanished.append(mine.recv())
    process.join()


def memory_of(process: psutil.Process) -> int:
    """Resident bytes of a process and all below it."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def following(task_id: str) -> tuple[str, str]:
    """The streams that a crowd follows: long output, and a task's story."""
    task = f"/api/v1/tasks/{task_id}"
    return f"{task}/logs/execute/stdout?follow=1", f"{task}/events?follow=1"


def latencies(ask: Callable[[], object], requests: int) -> list[float]:
    """Seconds of each of `requests`, one after the other."""
    found = []
    for _ in range(requests):
        began = time.perf_counter()
        ask()
        found.append(time.perf_counter() - began)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    with running(slots=2) as cluster:
        client = cluster.http
        token = client.headers["Authorization"].removeprefix("Bearer ")
        url = str(client.base_url).rstrip("/")
        task = {"execute": {"command": STREAMING}}
        task_id = client.post("/api/v1/tasks", json=task).raise_for_status().json()["id"]
        process = psutil.Process(_listener(urlsplit(url).port or 0))

        def ask() -> None:
            client.get("/api/v1/stats").raise_for_status()

        latencies(ask, wanted.requests // 4)
        quiet, before = latencies(ask, wanted.requests), memory_of(process)
        with crowded(url, token, following(task_id), wanted.readers) as vanished:
            latencies(ask, wanted.requests // 4)  # while all of them arrive at once
            beside, during = latencies(ask, wanted.requests), memory_of(process)
        report: dict[str, Any] = {
            "readers": wanted.readers,
            "vanished": vanished[0],
            "quiet_ms": _distribution(quiet),
            "crowded_ms": _distribution(beside),
            "memory_mb": {"before": before / 1e6, "during": during / 1e6, "after": memory_of(process) / 1e6},
        }
        report["p99_ratio"] = report["crowded_ms"]["p99"] / report["quiet_ms"]["p99"]
    print(json.dumps(report, indent=2))
    if wanted.json:
        wanted.json.write_text(json.dumps(report, indent=2))


def _listener(port: int) -> int:
    """The topmost process that listens on `port` (the gateway's workers share it)."""
    owners = {
        found.pid
        for found in psutil.net_connections("tcp")
        if found.laddr and found.laddr.port == port and found.status == psutil.CONN_LISTEN and found.pid
    }
    return min(owners)


def _distribution(seconds: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50": cuts[49] * 1000, "p95": cuts[94] * 1000, "p99": cuts[98] * 1000}


if __name__ == "__main__":
    main()
