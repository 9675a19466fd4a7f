"""`khala backup`: everything that a cluster has, into one file, while it runs."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import click

from khala.cli.connecting import cluster_options
from khala.cli.exits import Exit, note
from khala.cli.output import print_json
from khala.cli.progress import progress_bar
from khala.config import JudicatorConfig, resolve
from khala.errors import ConfigurationError
from khala.local.data_directory import default_data_dir
from khala.local.restoring import find_store


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--overwrite", is_flag=True, help="Replace FILE, when the backup is whole.")
@click.option(
    "--etcd-cluster-join-member-client",
    "join",
    metavar="URL",
    help="Of a cluster that is not on this machine: the client URL of one of its etcds.",
)
@click.option("--secret-file", metavar="PATH", help="The secret of that cluster.  [default: $KHALA_SECRET]")
@click.option("--mongodb-replica-set", metavar="NAME", help="Its replica set.  [default: rs]")
@cluster_options
def backup(file: Path, data_dir: Path | None, as_json: bool, overwrite: bool, **remote: str | None) -> int:
    """Write all that a cluster has into FILE, while it runs.

    \b
      khala backup khala.backup
      khala backup khala.backup --etcd-cluster-join-member-client=http://10.0.0.1:2001 --secret-file=secret

    Tasks, their files and outputs, tokens: as they were at one moment. It reads MongoDB itself, with the
    cluster's secret. FILE appears when it is whole; keep it as safe as the cluster.
    """
    from khala.node.backup import ClusterStore, back_up, mongods_of

    if remote["join"] and data_dir is not None:
        raise click.UsageError("--data-dir and --etcd-cluster-join-member-client name two clusters: give one")
    if remote["join"]:
        config = _settings(remote)
        endpoint = config.etcd_cluster_join_member_client.split(",")[0]
        store = ClusterStore(
            hosts=mongods_of(endpoint, config.secret),
            secret=config.secret,
            replica_set=config.mongodb_replica_set,
        )
    else:
        local = find_store((data_dir or default_data_dir(os.environ)).absolute())
        store = ClusterStore(hosts=local.hosts, secret=local.secret)
    with progress_bar("backup", hidden=as_json) as progress:
        made = back_up(store, file, progress, overwrite=overwrite)
    if as_json:
        print_json({"file": str(file), **dataclasses.asdict(made)})
    else:
        note(
            f"{file}: {made.documents} documents, {made.bytes / 1e6:.1f} MB; check it with "
            f"`khala restore --verify {file}`"
        )
    return Exit.OK


def _settings(remote: dict[str, str | None]) -> JudicatorConfig:
    """What was given, read as a role reads it; the environment and its file count, too."""
    fields = {
        "etcd_cluster_join_member_client": remote["join"],
        "secret_file": remote["secret_file"],
        "mongodb_replica_set": remote["mongodb_replica_set"],
    }
    resolved = resolve(
        "judicator", {name: (text,) for name, text in fields.items() if text is not None}, os.environ
    )
    for warning in resolved.warnings:
        note(f"khala: warning: {warning}")
    if not isinstance(resolved.config, JudicatorConfig):
        raise ConfigurationError("the settings are no judicator's")
    return resolved.config
