"""Runs a cluster of stand-ins in this process, as `khala up` does with real roles.

Arguments: the data directory, how many executors, the seconds that a role gets for stopping. Prints
one JSON line when the cluster is ready.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

from khala.errors import KhalaError
from khala.local.supervisor import Patience
from khala.local.up import UpOrder, run_cluster

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in_role.py")))


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    directory, executors, stop_s = sys.argv[1:]
    try:
        run_cluster(
            UpOrder(data_dir=Path(directory), executors=int(executors), port=0),
            environment=os.environ,
            say=say,
            when_claimed=lambda _: None,
            when_ready=lambda ready: print(json.dumps(dataclasses.asdict(ready)), flush=True),
            command=STAND_IN,
            patience=Patience(start_s=120.0, stop_s=float(stop_s)),
        )
    except KhalaError as failure:
        say(f"failed: {failure}")
        return 1
    return 0


sys.exit(main())
