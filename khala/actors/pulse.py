"""A node's sign of life for whoever watches its process: a file that is touched at each tick.

It shows that the node has started and that its ticker, bus and actors work. It says nothing of the cluster:
a node is not better for being started again because others are missing.
"""

from __future__ import annotations

from pathlib import Path

from khala.actors.actor import NodeActor, Stage
from khala.actors.messages import Tick
from khala.bus.envelope import Envelope

EVERY_S = 2.0


class Pulse(NodeActor):
    """`file` is made if need be; `Path()` is none."""

    def __init__(self, stage: Stage, name: str, *, file: Path) -> None:
        super().__init__(stage, name)
        self._file = file

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """Touch it; where that fails the watcher sees a node that is not well, and the log says why."""
        if self._file == Path():
            return
        try:
            self._file.touch()
        except OSError as why:
            self.log.warning("cannot touch the health file", path=str(self._file), reason=str(why))
