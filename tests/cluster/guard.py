"""The end of a cluster whose tests ended before it: `guarded(directory)`.

A process of its own, out of reach of the terminal's Ctrl-C, holds the other end of a pipe. When the pipe
closes without a word, whoever made the cluster is gone: then every process that works in its directory is
killed, the supervisor first, which would start the others again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

OVER = b"over\n"
KILL_WITHIN_S, GONE_WITHIN_S = 30.0, 1.0


@contextmanager
def guarded(directory: Path) -> Iterator[None]:
    """Nothing that works in `directory` outlives this process, even if it is killed within the block."""
    guard = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert guard.stdin is not None
    # By the pipe, not as an argument: the guard must not count as one of the cluster's processes.
    guard.stdin.write(os.fsencode(directory) + b"\n")
    guard.stdin.flush()
    try:
        yield
    finally:
        guard.stdin.write(OVER)
        guard.stdin.close()
        guard.wait(60)


def working_in(place: str) -> list[psutil.Process]:
    """Every other process that names a place, or one below it, in its command line."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(place in word for word in words):
            found.append(process)
    return found


def main() -> None:
    """Wait for the end of the pipe."""
    place, _, last = sys.stdin.buffer.read().partition(b"\n")
    if last == OVER or not place:
        return
    give_up_at = time.monotonic() + KILL_WITHIN_S
    while (left := working_in(os.fsdecode(place))) and time.monotonic() < give_up_at:
        for process in sorted(left, key=lambda each: each.pid):
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(left, timeout=GONE_WITHIN_S)


if __name__ == "__main__":
    main()
