"""An executor's pulse: measures the host's load and room for the next report to the leader."""

from __future__ import annotations

import os
from collections.abc import Callable

from khala.actors.actor import NodeActor, Stage
from khala.actors.executor_messages import LoadMeasured
from khala.actors.messages import Tick
from khala.bus.envelope import Envelope


class Heartbeat(NodeActor):
    """Reports themselves are built by the executor, which knows what it holds. `has_room`: can another
    workspace be made?"""

    def __init__(self, stage: Stage, *, has_room: Callable[[], bool]) -> None:
        super().__init__(stage, "heartbeat")
        self._has_room = has_room

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """Measure."""
        self.tell("executor", LoadMeasured(os.getloadavg()[0], self._has_room()))
