"""SIGSTOP that has really stopped: the signal alone returns before the last thread stands still."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from wait import wait_until

STILL = frozenset("TZX")


def freeze(pid: int) -> None:
    """Stop a process and wait until each of its threads is stopped, or the process has ended; SIGCONT lets it
    go on. ProcessLookupError if there is none."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: set(_states(pid)) <= STILL, what=f"process {pid} to stand still")


def _states(pid: int) -> list[str]:
    """The state letter of each thread (proc(5), stat); what ends meanwhile has none."""
    states = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                states.append((thread / "stat").read_text().rpartition(")")[2].split()[0])
    return states
