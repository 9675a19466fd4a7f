"""One thread of a node that sends ticks to its actors at fixed intervals."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from khala.actors.messages import Tick
from khala.bus.interface import Bus


class Ticker:
    """Sends `Tick` to each named actor of this node, every so many seconds, until stopped.

    An actor that is slow finds one tick in its inbox, not all that it missed (`NodeActor`): a tick
    means "look at the clock", and must never be counted.
    """

    def __init__(self, node: str, bus: Bus, intervals_s: Mapping[str, float]) -> None:
        self._node = node
        self._bus = bus
        self._intervals_s = dict(intervals_s)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the thread."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        step_s = min(self._intervals_s.values(), default=1.0)
        waited_s = dict.fromkeys(self._intervals_s, 0.0)
        while not self._stop.wait(step_s):
            for actor, interval_s in self._intervals_s.items():
                waited_s[actor] += step_s
                if waited_s[actor] + step_s / 2 >= interval_s:
                    waited_s[actor] = 0.0
                    self._bus.send(f"{self._node}/{actor}", Tick())
