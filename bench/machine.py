"""What the figures were measured on, and a baseline of its speed to hold them against."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path


def describe() -> Mapping[str, str]:
    """The machine, in words."""
    with Path("/proc/cpuinfo").open() as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "?")
    with Path("/proc/meminfo").open() as file:
        memory_gib = int(file.readline().split()[1]) / (1 << 20)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": f"{os.cpu_count()} × {model}",
        "memory": f"{memory_gib:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load at start": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "commit": commit or "unknown",
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


def processes_per_s(slots: int, seconds: float = 2.0) -> float:
    """The baseline that every scenario is interleaved with: `xargs -P` of `sh -c true`, a second."""
    tasks = 200 * slots
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        xargs = ["xargs", f"-P{slots}", "-n1", "sh", "-c"]
        subprocess.run(xargs, input=b"true\n" * tasks, check=True, stdout=subprocess.DEVNULL)
        done += tasks
    return done / (time.perf_counter() - began)
