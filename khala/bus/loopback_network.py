"""The network between loopback buses: who is connected, what is on its way, and what befalls it.

Deterministic: it owns a clock that only moves when told to and a generator with a seed, and nothing
moves until somebody pumps. `LoopbackPump` is a thread that does, for tests of real actors.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

PUMP_STEP_S = 0.01

Pair = tuple[str, str]


class Station(Protocol):
    """What the network knows of a bus; called in the thread that pumps."""

    @property
    def name(self) -> str:
        """The node's name."""
        ...

    @property
    def wanted(self) -> tuple[str, ...]:
        """The nodes that it dials, sorted."""
        ...

    def greet(self, other: Any) -> bool:
        """Say hello to another bus; whether both agreed."""
        ...

    def lose(self, node: str) -> None:
        """The connection to a node ended."""
        ...

    def take_off(self) -> None:
        """Put what waits for connected peers on its way."""
        ...

    def land(self, source: str, encoded: bytes) -> None:
        """An envelope arrives from a node."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """What befalls envelopes: chances from 0 to 1, and a delay drawn evenly from (least, most) seconds."""

    drop: float = 0.0
    duplicate: float = 0.0
    delay_s: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flight:
    """An encoded envelope on its way, and the connection that it is on."""

    encoded: bytes
    source: Station
    target: Station
    connection: int


class LoopbackNetwork:
    """Buses that can reach each other, and a clock of seconds that only moves when told to.

    `pump`, `advance` and `settle` must be called by one thread at a time; mailboxes run in it.
    """

    def __init__(self, *, seed: int = 0, plan: FaultPlan | None = None) -> None:
        self.plan = plan or FaultPlan()
        self.now_s = 0.0
        self.wake = threading.Event()
        self._rng = random.Random(seed)
        self._order = itertools.count()
        self._buses: dict[str, Station] = {}
        self._flights: list[tuple[float, int, _Flight]] = []
        self._connections: dict[Pair, int] = {}
        self._cuts: set[Pair] = set()
        self._mutes: set[tuple[str, str]] = set()

    def cut(self, one: str, other: str) -> None:
        """Part two nodes: their connection ends and none can be made."""
        self._cuts.add(_pair(one, other))

    def heal(self, one: str, other: str) -> None:
        """Undo `cut`."""
        self._cuts.discard(_pair(one, other))

    def mute(self, source: str, target: str) -> None:
        """Lose whatever `source` sends to `target`, while both believe to be connected."""
        self._mutes.add((source, target))

    def unmute(self, source: str, target: str) -> None:
        """Undo `mute`."""
        self._mutes.discard((source, target))

    def pump(self) -> int:
        """Connect and part whom it concerns, take what was sent, deliver what is due; how many envelopes."""
        self._meet()
        for bus in tuple(self._buses.values()):
            bus.take_off()
        delivered = 0
        while self._flights and self._flights[0][0] <= self.now_s:
            flight = heapq.heappop(self._flights)[2]
            if self._connections.get(_pair(flight.source.name, flight.target.name)) == flight.connection:
                flight.target.land(flight.source.name, flight.encoded)
                delivered += 1
        return delivered

    def advance(self, seconds: float) -> int:
        """Let time pass and deliver what becomes due, each at its own time; how many envelopes."""
        until = self.now_s + seconds
        delivered = self.pump()
        while self._flights and self._flights[0][0] <= until:
            self.now_s = max(self.now_s, self._flights[0][0])
            delivered += self.pump()
        self.now_s = until
        return delivered + self.pump()

    def settle(self, *, limit: int = 100_000) -> int:
        """Pump, with time passing as needed, until nothing is on its way; how many envelopes.

        Ends after `limit` envelopes, for actors that never stop answering each other.
        """
        delivered = 0
        while delivered < limit:
            step = self.pump()
            if not step and not self._flights:
                break
            delivered += step
            if self._flights:
                self.now_s = max(self.now_s, self._flights[0][0])
        return delivered

    def join(self, bus: Station) -> None:
        """A bus starts; in place of an older one of the same name."""
        older = self._buses.get(bus.name)
        if older is not None:
            self.leave(older)
        self._buses[bus.name] = bus

    def leave(self, bus: Station) -> None:
        """A bus closes."""
        if self._buses.get(bus.name) is bus:
            del self._buses[bus.name]
            for pair in [pair for pair in self._connections if bus.name in pair]:
                self._part(pair, bus)

    def take_off(self, source: Station, target: str, encoded: bytes) -> None:
        """An envelope leaves its outbox."""
        plan = self.plan
        if (source.name, target) in self._mutes:
            return
        flight = _Flight(
            encoded=encoded,
            source=source,
            target=self._buses[target],
            connection=self._connections[_pair(source.name, target)],
        )
        copies = 2 if self._rng.random() < plan.duplicate else 1
        for _ in range(copies):
            due = self.now_s + self._rng.uniform(*plan.delay_s)
            if self._rng.random() >= plan.drop:
                heapq.heappush(self._flights, (due, next(self._order), flight))

    def _meet(self) -> None:
        for pair in [pair for pair in self._connections if pair in self._cuts]:
            self._part(pair, None)
        for bus in tuple(self._buses.values()):
            for name in bus.wanted:
                other = self._buses.get(name)
                pair = _pair(bus.name, name)
                if other is None or pair in self._connections or pair in self._cuts:
                    continue
                if bus.greet(other):
                    self._connections[pair] = next(self._order)
        for pair in tuple(self._connections):
            one, other = (self._buses[name] for name in pair)
            if one.name not in other.wanted and other.name not in one.wanted:
                self._part(pair, None)

    def _part(self, pair: Pair, leaving: Station | None) -> None:
        del self._connections[pair]
        ends = [self._buses[name] for name in pair if name in self._buses]
        for bus in ends if leaving is None else [*ends, leaving]:
            bus.lose(pair[0] if pair[1] == bus.name else pair[1])


class LoopbackPump:
    """A thread that pumps a network while real time passes: for tests of real actors."""

    def __init__(self, network: LoopbackNetwork) -> None:
        self._network = network
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="khala-loopback", daemon=True)

    def start(self) -> None:
        """Begin to pump."""
        self._thread.start()

    def stop(self) -> None:
        """Pump no more."""
        self._stopping.set()
        self._network.wake.set()
        self._thread.join()

    def _run(self) -> None:
        last_s = time.monotonic()
        while not self._stopping.is_set():
            self._network.wake.wait(PUMP_STEP_S)
            self._network.wake.clear()
            now_s = time.monotonic()
            self._network.now_s += now_s - last_s
            self._network.pump()
            last_s = now_s


def _pair(one: str, other: str) -> Pair:
    return (one, other) if one < other else (other, one)
