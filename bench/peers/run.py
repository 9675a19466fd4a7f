"""The same short commands (`sh -c true`, output captured) by other systems, on as many slots.

    python -m bench.peers.run [--tasks 2000] [--repeats 3] [--only NAME …] [--json FILE]

GNU parallel and Redis come from Debian (apt-get install parallel redis-server), the rest from PyPI, into
build/bench/venvs. None of them makes a task durable; Celery, Dask and Ray return what the command wrote,
HyperQueue writes it to files, GNU parallel prints it. A peer that cannot be had here is left out, with why.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.command import tell, words_of

HERE = Path(__file__).parent
VENVS = HERE.parent.parent / "build" / "bench" / "venvs"
WITHIN_S = 300.0


@dataclass(frozen=True, slots=True)
class Peer:
    """`script` prints tasks per second, given slots and tasks; `packages` are from PyPI."""

    name: str
    script: str
    packages: tuple[str, ...] = ()


PEERS = (
    Peer("gnu parallel", "gnu_parallel.py"),
    Peer("celery", "with_celery.py", ("celery[redis]>=5.4,<6",)),
    Peer("dask", "with_dask.py", ("distributed>=2024.8",)),
    Peer("ray", "with_ray.py", ("ray>=2.40",)),
    Peer("hyperqueue", "with_hyperqueue.py", ("hyperqueue>=0.20",)),
)


def rate(peer: Peer, tasks: int, slots: int) -> float:
    """Tasks per second, once; RuntimeError says why there is no figure."""
    command = [str(_python_of(peer)), str(HERE / peer.script), str(slots), str(tasks)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it failed without a word"])[-1][:300])
    return float(done.stdout.split()[-1])


def prepare(peers: Sequence[Peer]) -> dict[str, str]:
    """Make the environments that are missing; the peers that cannot be had, and why."""
    missing: dict[str, str] = {}
    for peer in peers:
        folder = VENVS / peer.name
        made = folder / "installed"  # an installation that was interrupted is begun anew
        if not peer.packages or made.exists():
            continue
        venv.create(folder, with_pip=True, clear=True)
        install = [str(folder / "bin" / "pip"), "install", "--quiet", *peer.packages]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            missing[peer.name] = done.stderr.strip()[-300:]
        else:
            made.touch()
    return missing


def _python_of(peer: Peer) -> Path:
    return VENVS / peer.name / "bin" / "python" if peer.packages else Path(sys.executable)


def main() -> None:
    """Measure in turns, and print."""
    words = words_of(__doc__)
    words.add_argument("--tasks", type=int, default=2_000)
    words.add_argument("--repeats", type=int, default=3)
    words.add_argument("--slots", type=int, default=os.cpu_count() or 1)
    words.add_argument("--only", nargs="*", help="names of peers")
    options = words.parse_args()
    peers = [peer for peer in PEERS if not options.only or peer.name in options.only]
    missing = prepare(peers)
    rates: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        for peer in peers:
            if peer.name in missing:
                continue
            try:
                rates.setdefault(peer.name, []).append(round(rate(peer, options.tasks, options.slots), 1))
            except (RuntimeError, OSError, subprocess.TimeoutExpired, ValueError) as why:
                missing[peer.name] = str(why)
    found = {"tasks_per_s": rates, "missing": missing}
    tell(found, options.json)


if __name__ == "__main__":
    main()
