"""The simulated time: a queue of things to do, taken one at a time in the order of their moments.

Everything in a simulated world runs from here, in one thread, and all chance comes from one seeded
generator, so a seed replays to the last event.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

BEGIN_S = 1_000.0


class Clockwork:
    """The world's clock, `now_s`, and its chance, `rng`."""

    def __init__(self, seed: int) -> None:
        self.now_s = BEGIN_S
        self.rng = random.Random(seed)
        self.events = 0
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def after(self, delay_s: float, action: Callable[..., None], *args: Any) -> None:
        """Do `action(*args)` that much later."""
        self._number += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._number, action, args))

    def step(self) -> None:
        """Do the next thing."""
        self.now_s, _, action, args = heapq.heappop(self._queue)
        self.events += 1
        action(*args)

    def chance(self, probability: float) -> bool:
        """True that often."""
        return probability > 0 and self.rng.random() < probability

    def between(self, least: float, most: float) -> float:
        """A number from that range."""
        return least + (most - least) * self.rng.random()
