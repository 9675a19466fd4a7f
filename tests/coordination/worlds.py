"""The two services the contract suite runs over, behind one way to make, cut off and lose nodes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Protocol

from freezing import freeze
from services.processes import free_ports
from wait import wait_until

from khala.coordination.etcd import EtcdCoordination, boottime
from khala.coordination.etcd_settings import EtcdSettings
from khala.coordination.interface import ClusterView, Coordination, Member
from khala.coordination.memory import CoordinationHub, MemoryCoordination
from khala.services.etcd import EtcdServer
from khala.services.executables import find_etcd
from khala.services.native_process import NativeService, Patience, Phase

LEASE_S, SHORT_S = 60.0, 3.0  # of most nodes, whom no slow machine loses; of those whose lease is to run out
CALL_S = 10.0


class World(Protocol):
    def node(self, *, lease_ttl_s: float = LEASE_S) -> Coordination: ...
    def now(self) -> float: ...
    def eventually(self, condition: Callable[[], object], *, within_s: float, what: str = "") -> None: ...
    def lose(self, node: Coordination) -> None: ...
    def take_away(self) -> None: ...
    def bring_back(self) -> None: ...
    def close(self) -> None: ...


class MemoryWorld:
    """The hub, on a clock that only `eventually` moves."""

    def __init__(self) -> None:
        self._now = 1000.0
        self.hub = CoordinationHub(clock=self.now)

    def node(self, *, lease_ttl_s: float = LEASE_S) -> MemoryCoordination:
        return MemoryCoordination(self.hub, lease_ttl_s=lease_ttl_s)

    def now(self) -> float:
        return self._now

    def eventually(self, condition: Callable[[], object], *, within_s: float, what: str = "") -> None:
        give_up_at = self._now + within_s
        while not condition():
            assert self._now < give_up_at, f"not within {within_s} s: {what}"
            self._now += 0.05
            self.hub.tick()

    def lose(self, node: Coordination) -> None:
        assert isinstance(node, MemoryCoordination)
        self.hub.lose(node)

    def take_away(self) -> None:
        self.hub.set_available(False)

    def bring_back(self) -> None:
        self.hub.set_available(True)

    def close(self) -> None:
        """Nothing lives outside the hub."""


class EtcdWorld:
    """A real etcd of one member, and connections to it."""

    def __init__(self, folder: Path, *, secret: bytes | None = None) -> None:
        peer, client = free_ports(2)
        self.endpoint = f"http://127.0.0.1:{client}"
        self.secret = secret
        self._nodes: list[EtcdCoordination] = []
        self.server = EtcdServer(
            executable=find_etcd(),
            directory=folder / "etcd",
            name="e1",
            listen_address="127.0.0.1",
            listen_peer_port=peer,
            listen_client_port=client,
        )
        self.service = NativeService(self.server, patience=Patience(stop_grace_s=2, restart_s=0.05))
        self.service.start()
        self.service.wait_ready(60)

    def settings(self, **changes: object) -> EtcdSettings:
        values = {"endpoints": [self.endpoint], "secret": self.secret, "call_timeout_s": CALL_S, **changes}
        return EtcdSettings(**values)  # type: ignore[arg-type]

    def node(self, *, lease_ttl_s: float = LEASE_S, **changes: object) -> EtcdCoordination:
        made = EtcdCoordination(self.settings(lease_ttl_s=lease_ttl_s, **changes))
        self._nodes.append(made)
        return made

    def now(self) -> float:
        return boottime()

    def eventually(self, condition: Callable[[], object], *, within_s: float, what: str = "") -> None:
        wait_until(condition, timeout_s=within_s, what=what)

    def lose(self, node: Coordination) -> None:
        assert isinstance(node, EtcdCoordination)
        node.abandon()

    def take_away(self) -> None:
        assert self.service.pid
        freeze(self.service.pid)

    def bring_back(self) -> None:
        assert self.service.pid
        os.kill(self.service.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill etcd and see it started again on its data."""
        assert self.service.pid
        restarts = self.service.restarts
        os.kill(self.service.pid, signal.SIGKILL)
        wait_until(lambda: self.service.check().restarts > restarts)
        wait_until(lambda: self.service.check().phase is Phase.READY)

    def forget_nodes(self) -> None:
        for node in self._nodes:
            node.close()
        self._nodes.clear()

    def close(self) -> None:
        self.forget_nodes()
        self.service.stop()


_incarnations = count(1)


def a_member(name: str, role: str = "judicator", **details: str) -> Member:
    """A member with an incarnation of its own, and an address if it is a judicator."""
    address = f"{name}.example:4000" if role == "judicator" else ""
    return Member(
        name=name, role=role, incarnation=f"i{next(_incarnations)}", address=address, details=details
    )


class Seen:
    """A listener that keeps every view."""

    def __init__(self) -> None:
        self.views: list[ClusterView] = []

    def __call__(self, view: ClusterView) -> None:
        self.views.append(view)
