"""An etcd server: settings, command line, readiness. Pure but for `prepare` and `answers`.

etcd holds leases, leadership and the register of judicators here, never task data.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from khala.services.data_directory import DataDirectory, Origin
from khala.services.definition import Listening
from khala.services.executables import Executable, etcd_is_sound
from khala.services.ports import host_port, numeric, reachable

_BEFORE = {"3.5": ("3.4",), "3.6": ("3.5",)}  # etcd takes over the data of the minor release before it
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdServer:
    """One member of the etcd cluster.

    `directory` is its own folder. An advertised port of 0 is the listened one. `initial_cluster` maps
    the other members' names to their peer URLs; `joining` says that the cluster exists and that this
    member was added to it; `discovery` is the URL of a discovery service, in place of both.
    `force_new_cluster` throws all other members out of its data: for one start, when they are lost for good.
    A heartbeat and an election of 100 and 1000 ms are etcd's own defaults.
    """

    executable: Executable
    directory: Path
    name: str
    cluster: str = "khala"
    listen_address: str = "0.0.0.0"
    listen_peer_port: int = 2000
    listen_client_port: int = 2001
    advertise_address: str = "localhost"
    advertise_peer_port: int = 0
    advertise_client_port: int = 0
    initial_cluster: Mapping[str, str] = field(default_factory=dict)
    joining: bool = False
    discovery: str = ""
    force_new_cluster: bool = False
    heartbeat_ms: int = 100
    election_ms: int = 1000
    min_free_bytes: int = 256 << 20

    @property
    def kind(self) -> str:
        return "etcd"

    @property
    def peer_url(self) -> str:
        """Where the other members reach this one."""
        return self._advertised(self.advertise_peer_port or self.listen_peer_port)

    @property
    def client_url(self) -> str:
        """Where clients reach this member."""
        return self._advertised(self.advertise_client_port or self.listen_client_port)

    def files(self) -> DataDirectory:
        return DataDirectory(self.directory)

    def listening(self) -> tuple[Listening, ...]:
        address = numeric(self.listen_address, "--etcd-listen-address")
        return (
            Listening(address=address, port=self.listen_peer_port, flag="--etcd-listen-peer-port"),
            Listening(address=address, port=self.listen_client_port, flag="--etcd-listen-client-port"),
        )

    def prepare(self) -> None:
        files = self.files()
        files.prepare(min_free_bytes=self.min_free_bytes)
        origin = Origin(server=self.kind, series=self.executable.series, cluster=self.cluster)
        files.claim(origin, readable_series=_BEFORE.get(self.executable.series, ()))

    def argv(self) -> tuple[str, ...]:
        address = numeric(self.listen_address, "--etcd-listen-address")
        options = {
            "name": self.name,
            "data-dir": str(self.files().data),
            "listen-peer-urls": f"http://{host_port(address, self.listen_peer_port)}",
            "listen-client-urls": f"http://{host_port(address, self.listen_client_port)}",
            "initial-advertise-peer-urls": self.peer_url,
            "advertise-client-urls": self.client_url,
            "initial-cluster-token": self.cluster,
            "heartbeat-interval": str(self.heartbeat_ms),
            "election-timeout": str(self.election_ms),
            "auto-compaction-retention": "1h",
            "bcrypt-cost": "4",  # the passwords are 256 random bits: slow hashing would add nothing
            "logger": "zap",
            "log-level": "warn",
            "log-outputs": "stderr",
        }
        if self.discovery:
            options["discovery"] = self.discovery
        else:
            members = {**self.initial_cluster, self.name: self.peer_url}
            options["initial-cluster"] = ",".join(f"{name}={url}" for name, url in sorted(members.items()))
            options["initial-cluster-state"] = "existing" if self.joining else "new"
        if self.force_new_cluster:
            options["force-new-cluster"] = "true"
        if not etcd_is_sound(self.executable.version):
            options["experimental-initial-corrupt-check"] = "true"
        return (str(self.executable.path), *(f"--{name}={value}" for name, value in options.items()))

    def answers(self, timeout_s: float) -> bool:
        """Whether GET /health says that this member serves and its cluster has a leader; it answers
        without a password too."""
        try:
            return str(self._get(self.listening()[1], "/health", timeout_s).get("health")).lower() == "true"
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            return False

    def known_members(self, timeout_s: float) -> tuple[str, ...] | None:
        """The peer URLs of all members that its data name, itself among them, which it tells without a
        leader, too; None while it does not answer."""
        try:
            found = self._get(self.listening()[0], "/members", timeout_s)
            return tuple(url for member in found for url in member["peerURLs"])
        except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
            return None

    def _get(self, place: Listening, path: str, timeout_s: float) -> Any:
        """The JSON that it answers to GET `path`; raises what http.client and json do, ValueError too when
        the status is not 200."""
        connection = http.client.HTTPConnection(reachable(place.address), place.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            content = answer.read(_MOST_BYTES)
            if answer.status != 200:
                raise ValueError(f"{path}: HTTP {answer.status}")
            return json.loads(content)
        finally:
            connection.close()

    def _advertised(self, port: int) -> str:
        return f"http://{host_port(self.advertise_address, port)}"
