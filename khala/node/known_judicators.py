"""What a judicator remembers of its cluster on its own disk: how to reach the others' etcd, and whether
it left.

    DATA-DIR/judicators.json   {"etcd_clients": {NAME: URL, …}, "left": false}

`note` is called by coordination's thread, the rest by any.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import structlog

from khala.coordination.interface import ClusterView
from khala.errors import ConfigurationError
from khala.services.data_directory import write_private
from khala.services.departure import KNOWN


class KnownJudicators:
    """The file above; `name` is this judicator's own."""

    def __init__(self, data_dir: Path, name: str) -> None:
        self._path = data_dir / KNOWN
        self._name = name
        self._etcd_clients: dict[str, str] = {}
        self._left = False
        if self._path.exists():
            try:
                said = json.loads(self._path.read_text())
                self._etcd_clients = {str(one): str(url) for one, url in said["etcd_clients"].items()}
                self._left = bool(said["left"])
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ConfigurationError(f"{self._path}: unreadable; move it aside") from None

    @property
    def left(self) -> bool:
        """Did this judicator leave its cluster, or was it removed? Then its data are history (P20)."""
        return self._left

    def etcd_clients(self) -> Sequence[str]:
        """The URLs of the others' etcd."""
        return tuple(self._etcd_clients.values())

    def note(self, view: ClusterView) -> None:
        """Remember who is registered now, and so that this judicator belongs to a cluster."""
        if self._left or not view.registered:
            return
        known = {
            name: registration.etcd_client
            for name, registration in view.registered.items()
            if name != self._name and registration.etcd_client and not registration.leaving
        }
        if known != self._etcd_clients:
            self._etcd_clients = known
            try:
                self._write()
            except OSError as why:  # coordination goes on, and this is written with the next change
                structlog.get_logger().warning("cannot write", path=str(self._path), reason=str(why))

    def note_left(self, *, left: bool) -> None:
        """Remember that this judicator left, or joined again."""
        if left != self._left:
            self._left = left
            self._write()

    def forget_others(self) -> None:
        """The others are lost for good."""
        self._etcd_clients, self._left = {}, False
        self._write()

    def _write(self) -> None:
        said = {"etcd_clients": self._etcd_clients, "left": self._left}
        write_private(self._path, json.dumps(said).encode())
