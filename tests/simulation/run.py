"""`python -m simulation.run`: many seeds on all processors, or the story of one.

PYTHONPATH=.:tests python -m simulation.run --seeds 50000 --first 0
PYTHONPATH=.:tests python -m simulation.run --seed 4711 --story
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from history.violation import Violation
from simulation.world import Parts, World

CHUNK = 25


@dataclass(slots=True)
class Tally:
    """What came of some seeds; `failed` is (seed, why)."""

    seeds: int = 0
    events: int = 0
    fewest_events: int = 1 << 60
    failed: list[tuple[int, str]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    transitions: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Count another's in."""
        self.seeds += other.seeds
        self.events += other.events
        self.fewest_events = min(self.fewest_events, other.fewest_events)
        self.failed += other.failed
        self.faults += other.faults
        self.transitions += other.transitions


def run_seed(seed: int, parts: Parts | None = None) -> Tally:
    """Run one world to its end."""
    world = World(seed, parts=parts)
    tally = Tally(seeds=1)
    try:
        world.run()
    except Violation as violation:
        tally.failed.append((seed, str(violation)))
    except Exception:  # noqa: BLE001 - whatever a seed raises is a finding, told with its seed
        tally.failed.append((seed, traceback.format_exc(limit=-4)))
    tally.events = tally.fewest_events = world.clockwork.events
    tally.faults = world.faults
    for (kind, before, after), times in world.checker.tasks.seen.items():
        tally.transitions[(kind, str(before), str(after))] += times
    return tally


def _collect_by_chunks() -> None:
    """A world is small and full of cycles: looking for them within each costs more than it frees."""
    gc.freeze()
    gc.disable()


def _run_chunk(seeds: range) -> Tally:
    tally = Tally()
    for seed in seeds:
        tally.add(run_seed(seed))
    gc.collect()
    return tally


def run_seeds(first: int, count: int, workers: int | None = None) -> Iterator[Tally]:
    """Run `count` seeds from `first` on all processors; yields tallies as they come."""
    chunks = [range(n, min(n + CHUNK, first + count)) for n in range(first, first + count, CHUNK)]
    with multiprocessing.get_context("spawn").Pool(workers or os.cpu_count(), _collect_by_chunks) as pool:
        yield from pool.imap_unordered(_run_chunk, chunks)


def tell(seed: int) -> int:
    """Print one seed's story; returns 1 if it ends badly."""
    world = World(seed, telling=True)
    try:
        world.run()
    except Violation as violation:
        print("\n".join(world.told))
        print(f"seed {seed}: {violation}")
        return 1
    except Exception:
        print("\n".join(world.told))
        raise
    print("\n".join(world.told))
    print(f"seed {seed}: all is well after {world.clockwork.events} events")
    return 0


def main() -> int:
    """Returns 1 if a seed failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--story", action="store_true", help="print what happens in it")
    parser.add_argument("--workers", type=int, help="processes (default: one a processor)")
    asked = parser.parse_args()
    if asked.seed is not None and asked.story:
        return tell(asked.seed)
    first, count = (asked.seed, 1) if asked.seed is not None else (asked.first, asked.seeds)
    began, total = time.monotonic(), Tally()
    for tally in run_seeds(first, count, asked.workers):
        total.add(tally)
        rate = total.seeds / (time.monotonic() - began)
        line = f"\r{total.seeds}/{count} seeds, {len(total.failed)} failed, {rate:.0f}/s"
        print(line, end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for seed, why in sorted(total.failed)[:20]:
        print(f"seed {seed}: {why}")
    print(f"{total.seeds} seeds, {total.events // max(total.seeds, 1)} events each on average")
    for name, times in sorted(total.faults.items()):
        print(f"  {times:8} {name}")
    for key, times in sorted(total.transitions.items()):
        print(f"  {times:8} {' '.join(key)}")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
