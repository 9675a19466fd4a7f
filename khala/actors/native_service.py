"""Watches one native server of a judicator (etcd or mongod) and starts it again when it died."""

from __future__ import annotations

from khala.actors.actor import NodeActor, Stage
from khala.actors.messages import ServiceChecked, Tick
from khala.bus.envelope import Envelope
from khala.services.native_process import NativeService, Phase


class NativeServiceActor(NodeActor):
    """Its thread blocks while the server starts. Stopping is left to the node, in its own order."""

    def __init__(self, stage: Stage, *, name: str, service: NativeService) -> None:
        super().__init__(stage, f"service-{name}")
        self._kind = name
        self._service = service
        self._seen = ""

    def handle_tick(self, tick: Tick, envelope: Envelope) -> None:
        """Look after it."""
        state = self._service.check()
        seen = f"{state.phase} {state.detail}".rstrip()
        if seen != self._seen:
            self._seen = seen
            self.log.info("native service", kind=self._kind, state=seen, restarts=state.restarts)
        self.tell("judicator", ServiceChecked(self._kind, state.phase is Phase.READY, state.restarts))
