"""Buses of both implementations for the tests, and a way to wait for what they do."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from wait import wait_until

from khala.bus.bus import ThriftBus
from khala.bus.interface import Bus, BusSettings
from khala.bus.loopback import LoopbackBus
from khala.bus.loopback_network import LoopbackNetwork

SECRET = b"a secret of the tests"


@dataclass
class Inbox:
    """A mailbox that keeps what it gets."""

    envelopes: list[Any] = field(default_factory=list)

    def __call__(self, envelope: Any) -> None:
        self.envelopes.append(envelope)

    @property
    def payloads(self) -> list[object]:
        return [envelope.payload for envelope in self.envelopes]


class World(Protocol):
    """Buses of one implementation, and a way to wait for what they do."""

    def bus(self, node: str, role: str = "judicator", *, listen: bool = True, **settings: Any) -> Bus: ...

    def address(self, bus: Bus) -> str: ...

    def until(self, condition: Callable[[], Any], what: str = "") -> Any: ...

    def close(self) -> None: ...


def make_settings(node: str, role: str, *, listen: bool, incarnation: str, **settings: Any) -> BusSettings:
    settings = {"secret": SECRET, "reconnect_min_s": 0.01, "reconnect_max_s": 0.1, **settings}
    return BusSettings(
        node=node,
        role=role,
        incarnation=incarnation,
        listen=("127.0.0.1", 0) if listen else None,
        **settings,
    )


class ThriftWorld:
    """Real sockets."""

    def __init__(self) -> None:
        self._buses: list[Bus] = []
        self._incarnations = itertools.count(1)

    def bus(self, node: str, role: str = "judicator", *, listen: bool = True, **settings: Any) -> ThriftBus:
        incarnation = str(next(self._incarnations))
        bus = ThriftBus(make_settings(node, role, listen=listen, incarnation=incarnation, **settings))
        self._buses.append(bus)
        bus.start()
        return bus

    def address(self, bus: Bus) -> str:
        return f"127.0.0.1:{bus.listen_port}"

    def until(self, condition: Callable[[], Any], what: str = "") -> Any:
        return wait_until(condition, what=what)

    def close(self) -> None:
        for bus in self._buses:
            bus.close(1.0)


class LoopbackWorld:
    """Memory; waiting pumps."""

    def __init__(self) -> None:
        self.network = LoopbackNetwork(seed=1)
        self._buses: list[Bus] = []
        self._incarnations = itertools.count(1)

    def bus(self, node: str, role: str = "judicator", *, listen: bool = True, **settings: Any) -> LoopbackBus:
        incarnation = str(next(self._incarnations))
        made = make_settings(node, role, listen=listen, incarnation=incarnation, **settings)
        bus = LoopbackBus(self.network, made)
        self._buses.append(bus)
        bus.start()
        return bus

    def address(self, bus: Bus) -> str:
        return "memory:1"

    def until(self, condition: Callable[[], Any], what: str = "") -> Any:
        def pumped() -> Any:
            self.network.pump()
            return condition()

        return wait_until(pumped, what=what)

    def close(self) -> None:
        for bus in self._buses:
            bus.close(1.0)
