"""What a native server is to the code that starts and watches one. Two real ones: etcd, mongod."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

from khala.services.data_directory import DataDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """An address and port a server listens on, and the flag by which a user chooses it."""

    address: str
    port: int
    flag: str


class ServerDefinition(Protocol):
    """One server's settings, turned into what the operating system needs."""

    @property
    def kind(self) -> str:
        """`etcd` or `mongod`."""
        ...

    def files(self) -> DataDirectory:
        """Its folder."""
        ...

    def listening(self) -> tuple[Listening, ...]:
        """Everything it is about to listen on."""
        ...

    def prepare(self) -> None:
        """Check and write what it needs on disk before a start; raises ConfigurationError."""
        ...

    def argv(self) -> tuple[str, ...]:
        """Its command line, the program first."""
        ...

    def answers(self, timeout_s: float) -> bool:
        """Whether it answers and can serve; never raises for a server that does not."""
        ...


def clean_environment() -> dict[str, str]:
    """The node's environment reduced to what a server needs: no secret of the cluster, and no ETCD_…
    variable that would override a flag."""
    kept = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "GOMAXPROCS", "ETCD_UNSUPPORTED_ARCH")
    return {name: os.environ[name] for name in kept if name in os.environ}
