"""Everything in one run: `make bench` writes build/bench/{bench.md,bench.json,*.png} within half an hour.

    python -m bench.run [--folder build/bench] [--only NAME …]

A baseline of the machine's own speed (`xargs -P`, short commands) is taken before and after every scenario,
and each rate is told as a ratio to it, so that a busy or a slow machine is seen.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import machine, report

SCENARIOS: Mapping[str, tuple[str, ...]] = {
    "throughput": ("--tasks=3000",),
    "control_plane": ("--tasks=6000",),
    "idle": ("--count=200", "--executors=200"),
    "http_rates": ("--seconds=4",),
    "scaling": ("--tasks=4000", "--repeats=1"),
    "isolation": ("--tasks=100", "--repeats=1"),
    "transfer": ("--repeats=3",),
    "failover": ("--repeats=1",),
    "store_size": ("--tasks=200000", "--repeats=3"),
    "peers.run": ("--tasks=3000",),
}
WITHIN_S = 600.0


def run(name: str, arguments: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """One scenario, in a process of its own, with the baseline around it."""
    file = folder / f"{name}.json"
    file.unlink(missing_ok=True)
    before, began = machine.processes_per_s(os.cpu_count() or 1), time.perf_counter()
    command = [sys.executable, "-m", f"bench.{name}", *arguments, f"--json={file}"]
    told: dict[str, Any] = {"command": " ".join(["python", *command[1:-1]])}
    try:
        with (folder / f"{name}.log").open("w") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, timeout=WITHIN_S)
        told["found"] = json.loads(file.read_text())
    except (subprocess.SubprocessError, OSError, ValueError) as why:
        told["failed"] = str(why)
    told["took_s"] = round(time.perf_counter() - began, 1)
    after = machine.processes_per_s(os.cpu_count() or 1)
    told["baseline_per_s"] = [round(before), round(after)]
    return told


def main() -> None:
    """Run, and write what was found after each, so that a run that is ended leaves something."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    words.add_argument("--folder", type=Path, default=Path("build/bench"))
    words.add_argument("--only", nargs="*", choices=list(SCENARIOS), help="which scenarios")
    options = words.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    whole: dict[str, Any] = {"machine": dict(machine.describe()), "scenarios": {}}
    for name in options.only or SCENARIOS:
        print(f"{name} …", flush=True)
        told = whole["scenarios"][name] = run(name, SCENARIOS[name], options.folder)
        print(f"{name}: {told.get('failed') or 'done'} after {told['took_s']} s", flush=True)
        (options.folder / "bench.json").write_text(json.dumps(whole, indent=1) + "\n")
        report.write(whole, options.folder)
    print((options.folder / "bench.md").read_text())
    if any("failed" in told for told in whole["scenarios"].values()):
        raise SystemExit("some scenarios failed")


if __name__ == "__main__":
    main()
