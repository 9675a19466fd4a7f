"""Backing up a running cluster's store into a file. Runs in the command's own thread, beside the cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from khala.actors.replica_set import MONGOD
from khala.coordination.etcd_client import EtcdClient
from khala.coordination.etcd_keys import PREFIX, view_of
from khala.coordination.etcd_settings import address_of
from khala.errors import ConfigurationError, Unavailable
from khala.node.lifetime import read_clocks
from khala.store.archive import ArchiveWriter, durable_file
from khala.store.mongo.client import MongoSettings
from khala.store.mongo.dump import dump

_ETCD_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStore:
    """How to reach a cluster's MongoDB: some of its members as host:port, and the cluster's secret."""

    hosts: tuple[str, ...]
    secret: str = field(default="", repr=False)
    replica_set: str = "rs"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupMade:
    """What a finished backup is; `bytes` is the file's size, `made_at` Unix seconds."""

    cluster_id: str
    generation: int
    made_at: float
    documents: int
    content_bytes: int
    bytes: int


def back_up(
    store: ClusterStore, file: Path, progress: Callable[[int, int], None], *, overwrite: bool = False
) -> BackupMade:
    """Write everything that the store has now into `file`, which exists only once it is whole.

    Raises ConfigurationError (a wrong secret, a file that is there already) or Unavailable.
    """
    if file.exists() and not overwrite:
        raise ConfigurationError(f"{file} exists: give another name, or --overwrite")
    settings = MongoSettings(hosts=store.hosts, replica_set=store.replica_set, secret=store.secret)
    with durable_file(file) as content:
        archive = ArchiveWriter(content)
        header = dump(settings, archive, read_clocks(), progress)
        archive.finish()
        size = content.tell()
    return BackupMade(
        cluster_id=header["cluster_id"],
        generation=header["generation"],
        made_at=header["made_at"],
        documents=archive.total.documents,
        content_bytes=archive.total.bytes,
        bytes=size,
    )


def mongods_of(etcd_endpoint: str, secret: str) -> tuple[str, ...]:
    """The mongods of the judicators that live, as host:port, from the cluster's etcd."""
    client = EtcdClient(address_of(etcd_endpoint), secret=secret.encode() or None, timeout_s=_ETCD_TIMEOUT_S)
    try:
        members = view_of(client.read_below(PREFIX)).members.values()
    finally:
        client.close()
    hosts = tuple(member.details[MONGOD] for member in members if MONGOD in member.details)
    if not hosts:
        raise Unavailable(f"no judicator lives in the cluster of etcd {etcd_endpoint}: start one")
    return hosts
