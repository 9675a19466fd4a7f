"""The native servers of a judicator, from its settings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from khala.config import JudicatorConfig
from khala.config.host import memory_bytes
from khala.services.etcd import EtcdServer
from khala.services.executables import find_etcd, find_mongod
from khala.services.mongod import MongodServer, cache_for
from khala.services.native_process import NativeService
from khala.services.ports import host_port, reachable


def etcd_server(config: JudicatorConfig) -> EtcdServer:
    """The etcd of a cluster of its own; `khala.node.entering` says which it really belongs to."""
    return EtcdServer(
        executable=find_etcd(config.etcd_exe, copies=config.data_dir / "programs"),
        directory=config.data_dir / "etcd",
        name=config.etcd_name,
        listen_address=config.etcd_listen_address,
        listen_peer_port=config.etcd_listen_peer_port,
        listen_client_port=config.etcd_listen_client_port,
        advertise_address=config.etcd_advertise_address,
        advertise_peer_port=config.etcd_advertise_peer_port,
        advertise_client_port=config.etcd_advertise_client_port,
    )


def mongod_server(config: JudicatorConfig) -> MongodServer:
    """The mongod."""
    return MongodServer(
        executable=find_mongod(config.mongodb_exe, copies=config.data_dir / "programs"),
        directory=config.data_dir / "mongodb",
        listen_address=config.mongodb_listen_address,
        port=config.mongodb_listen_port,
        replica_set=config.mongodb_replica_set,
        secret=config.secret.encode() or None,
        cache_bytes=cache_for(memory_bytes()),
    )


def native_service(server: EtcdServer | MongodServer, *, print_log: bool) -> NativeService:
    """What keeps the server running."""
    return NativeService(server, on_log_line=_printer(server.kind) if print_log else None)


def own_etcd(config: JudicatorConfig) -> str:
    """Where this node reaches its own etcd: host:port."""
    return host_port(reachable(config.etcd_listen_address), config.etcd_listen_client_port)


def mongod_address(config: JudicatorConfig) -> str:
    """The mongod's host:port as the other members and the replica set know it."""
    port = config.mongodb_advertise_port or config.mongodb_listen_port
    return f"{config.mongodb_advertise_address}:{port}"


def _printer(name: str) -> Callable[[str], None]:
    def show(line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            print(f"{name}: {line}", flush=True)  # noqa: T201

    return show
