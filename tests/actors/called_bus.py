"""The in-memory bus with the public RPC's end, as the Thrift bus has one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from khala.bus.envelope import RPC, Envelope, node_of
from khala.bus.interface import BusSettings
from khala.bus.loopback import LoopbackBus
from khala.bus.loopback_network import LoopbackNetwork
from khala.core.commands import NotAvailable, Refused
from khala.errors import Refusal, Unavailable


class CalledBus(LoopbackBus):
    """Answers of calls stay here, by the address that asked."""

    def __init__(self, network: LoopbackNetwork, settings: BusSettings) -> None:
        super().__init__(network, settings)
        self._calls = itertools.count(1)
        self.answers: dict[str, list[Any]] = {}
        self.futures: dict[str, Future[Any]] = {}

    def future(self, command: object, role: str) -> Future[Any]:
        """Give a command as an RpcClient does; raises what an RpcClient would raise."""
        address = f"{RPC}/{role}/someone/1/{next(self._calls)}/method"
        future = self.futures[address] = Future()
        if not self.send(f"{self.name}/judicator", command, sender=address):
            del self.futures[address]
            future.set_exception(Unavailable("the judicator is not up"))
        return future

    def call(self, command: object, role: str = "client") -> Callable[[], list[Any]]:
        """Give a command; the answer tells which replies have come."""
        address = f"{RPC}/{role}/someone/1/{next(self._calls)}/method"
        replies: list[Any] = []
        self.answers[address] = replies
        assert self.send(f"{self.name}/judicator", command, sender=address)
        return lambda: replies

    def _post(self, envelope: Envelope) -> bool:
        if node_of(envelope.destination) == RPC:
            future = self.futures.pop(envelope.destination, None)
            if future is None:
                self.answers[envelope.destination].append(envelope.payload)
            elif isinstance(envelope.payload, NotAvailable):
                future.set_exception(Unavailable(envelope.payload.detail))
            elif isinstance(envelope.payload, Refused):
                future.set_exception(Refusal(envelope.payload.detail))
            else:
                future.set_result(envelope.payload)
            return True
        return super()._post(envelope)
