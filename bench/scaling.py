"""How the control plane's cost grows: with the length of the queue, and with the number of executors.

    python -m bench.scaling [--depths 1000 10000 100000] [--executors 1 10 100] [--json FILE]

As `bench.control_plane`, in one cluster for each figure. A million tasks (`--depths 1000000`) take a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.command import tell, words_of
from bench.control_plane import measure

SLOTS = 400


def by_depth(depths: Sequence[int], tasks: int, repeats: int) -> list[dict[str, Any]]:
    """Rates and memory while so many tasks wait."""
    return [measure(tasks, repeats, 4, SLOTS // 4, depth) for depth in depths]


def by_executors(executors: Sequence[int], tasks: int, repeats: int) -> list[dict[str, Any]]:
    """Rates with the same slots on so many executors."""
    return [measure(tasks, repeats, count, max(1, SLOTS // count), 0) for count in executors]


def main() -> None:
    """Measure and print."""
    words = words_of(__doc__)
    words.add_argument("--depths", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    words.add_argument("--executors", type=int, nargs="*", default=[1, 10, 100])
    words.add_argument("--tasks", type=int, default=5_000)
    words.add_argument("--repeats", type=int, default=2)
    options = words.parse_args()
    found = {
        "by_depth": by_depth(options.depths, options.tasks, options.repeats),
        "by_executors": by_executors(options.executors, options.tasks, options.repeats),
    }
    tell(found, options.json)


if __name__ == "__main__":
    main()
