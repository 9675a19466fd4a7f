"""Which role processes make up a local cluster, and with which flags. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from khala.errors import ConfigurationError

HOST = "127.0.0.1"
_JUDICATOR_PORTS = ("etcd_peer", "etcd_client", "mongodb", "main")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSize:
    """What `khala up` was asked for. `slots` is per executor."""

    judicators: int = 1
    executors: int = 1
    gateways: int = 1
    slots: int = 2

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not 1 <= getattr(self, name) <= 99:
                raise ConfigurationError(f"--{name}: give a number from 1 to 99")
        if self.judicators % 2 == 0:
            raise ConfigurationError(
                f"--judicators: {self.judicators} survive no more losses than {self.judicators - 1}: "
                "give an odd number"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePlan:
    """One role process: `khala ROLE FLAGS…`. `port` is where it accepts connections, 0 if nowhere."""

    name: str
    role: str
    flags: tuple[str, ...]
    port: int = 0


def port_names(size: ClusterSize) -> tuple[str, ...]:
    """The names of all ports that the cluster needs, except that of the first gateway."""
    judicators = tuple(
        f"judicator-{n}.{port}" for n in _numbers(size.judicators) for port in _JUDICATOR_PORTS
    )
    return judicators + tuple(f"gateway-{n}" for n in _numbers(size.gateways) if n > 1)


def plan_cluster(
    size: ClusterSize,
    ports: Mapping[str, int],
    *,
    data_dir: Path,
    secret_file: Path,
    gateway_host: str,
    first_token_digest: str,
    total_memory_bytes: int,
    auth: str = "token",
    founders: int = 0,
) -> tuple[RolePlan, ...]:
    """The processes in the order of their start. `ports` has all of `port_names` and `gateway-1`. `auth` is
    token or none. The first `founders` judicators (0: all) begin the cluster, further ones join it."""
    every = (f"--secret-file={secret_file}", f"--auth={auth}")
    join = _join_flag(size, ports)
    found = _found_flag(founders or size.judicators, ports)
    plans = []
    flags: tuple[str, ...]
    for n in _numbers(size.judicators):
        own = {port: ports[f"judicator-{n}.{port}"] for port in _JUDICATOR_PORTS}
        flags = (
            found if n <= (founders or size.judicators) else join,
            "--leave-at-stop=false",
            f"--etcd-listen-address={HOST}",
            f"--etcd-listen-peer-port={own['etcd_peer']}",
            f"--etcd-listen-client-port={own['etcd_client']}",
            f"--etcd-advertise-address={HOST}",
            f"--mongodb-listen-address={HOST}",
            f"--mongodb-listen-port={own['mongodb']}",
            f"--mongodb-advertise-address={HOST}",
            f"--main-listen-address={HOST}",
            f"--main-listen-port={own['main']}",
            f"--main-advertise-address={HOST}",
            f"--main-first-token-digest={first_token_digest}",
        )
        plans.append(_plan("judicator", n, data_dir, (*every, *flags), own["main"]))
    for n in _numbers(size.executors):
        flags = (
            join,
            f"--main-task-vacant={size.slots}",
            f"--cpus={size.slots}",
            f"--memory={total_memory_bytes // size.executors}",
        )
        plans.append(_plan("executor", n, data_dir, (*every, *flags), 0))
    for n in _numbers(size.gateways):
        port = ports[f"gateway-{n}"]
        flags = (join, f"--uwsgi-host={gateway_host}", f"--uwsgi-port={port}", "--uwsgi-processes=1")
        plans.append(_plan("gateway", n, data_dir, (*every, *flags), port))
    return tuple(plans)


def _found_flag(founders: int, ports: Mapping[str, int]) -> str:
    if founders == 1:
        return "--etcd-cluster-init-independent"
    members = (f"judicator-{n}=http://{HOST}:{ports[f'judicator-{n}.etcd_peer']}" for n in _numbers(founders))
    return f"--etcd-cluster-init-member={','.join(members)}"


def _join_flag(size: ClusterSize, ports: Mapping[str, int]) -> str:
    urls = (f"http://{HOST}:{ports[f'judicator-{n}.etcd_client']}" for n in _numbers(size.judicators))
    return f"--etcd-cluster-join-member-client={','.join(urls)}"


def _plan(role: str, number: int, data_dir: Path, flags: tuple[str, ...], port: int) -> RolePlan:
    name = f"{role}-{number}"
    own = (f"--main-name={name}", f"--data-dir={data_dir / name}")
    return RolePlan(name=name, role=role, flags=(*own, *flags), port=port)


def _numbers(count: int) -> range:
    return range(1, count + 1)
