"""What a backup must know of a local cluster, and what `khala up` must find of a restored one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from khala.errors import ConfigurationError, Unavailable
from khala.local.data_directory import DataDirectory
from khala.local.plan import HOST
from khala.local.record import FILE_NAME, ClusterRecord, read_record, write_private, write_record

_FIRST = "judicator-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalStore:
    """Where the mongods of a local cluster listen, as host:port, and the cluster's secret."""

    hosts: tuple[str, ...]
    secret: str = field(repr=False)


def find_store(data_dir: Path) -> LocalStore:
    """The store of the cluster that runs in `data_dir`. Raises Unavailable if none does."""
    record = read_record(data_dir)
    if record is None or not record.running:
        raise Unavailable(
            f"no cluster is running in {data_dir}: start it with `khala up`, or name a judicator's etcd with "
            "--etcd-cluster-join-member-client"
        )
    names = [f"judicator-{number}.mongodb" for number in range(1, record.judicators + 1)]
    hosts = tuple(f"{HOST}:{record.ports[name]}" for name in names if name in record.ports)
    try:
        secret = (data_dir / "secret").read_text().strip()
    except OSError as failure:
        raise ConfigurationError(
            f"cannot read the secret in {data_dir}: {failure.strerror}: run as its owner"
        ) from failure
    return LocalStore(hosts=hosts, secret=secret)


@contextmanager
def fresh_cluster(data_dir: Path, token: str, secret: str = "") -> Iterator[Path]:
    """Yields the directory of the first judicator of a cluster that never ran; when the block is done,
    `khala up --data-dir` runs that cluster, with this administrator's token and this secret, or a new one.

    ConfigurationError if there are data, or if a cluster runs there.
    """
    directory = DataDirectory.claim(data_dir)
    try:
        if (data_dir / FILE_NAME).exists():
            raise ConfigurationError(f"{data_dir} has a cluster's data: give another --data-dir")
        judicator = data_dir / _FIRST
        judicator.mkdir(exist_ok=True, mode=0o700)
        try:
            yield judicator
        except BaseException:
            with contextlib.suppress(OSError):  # it holds a copied program
                judicator.rmdir()
            raise
        if secret:
            write_private(data_dir / "secret", secret + "\n")
        write_record(data_dir, ClusterRecord(token=token, judicators=1))
    except BaseException:
        directory.discard_if_new()
        raise
    finally:
        directory.release()
