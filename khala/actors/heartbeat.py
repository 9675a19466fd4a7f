"""An executor's pulse: measures the host's load for the next report to the leader."""

from __future__ import annotations

import os

from khala.actors.actor import NodeActor
from khala.actors.messages import LoadMeasured, Tick
from khala.bus.envelope import Envelope


class Heartbeat(NodeActor):
    """Reports themselves are built by the executor, which knows what it holds."""

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """Measure."""
        self.tell("executor", LoadMeasured(os.getloadavg()[0]))
