"""`khala restore`: a new cluster out of a backup, or a look at what a backup has."""

from __future__ import annotations

import dataclasses
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from khala.cli.connecting import cluster_options
from khala.cli.exits import Exit, note
from khala.cli.output import moment, print_json, print_table
from khala.cli.progress import progress_bar
from khala.errors import ConfigurationError
from khala.local.data_directory import default_data_dir
from khala.local.restoring import fresh_cluster

if TYPE_CHECKING:
    from khala.node.restore import Contents


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--verify", is_flag=True, help="Only check all of FILE, and say what is in it.")
@click.option(
    "--judicator-data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Restore as the data of this judicator's --data-dir, not of a cluster on this machine.",
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The secret of the new cluster on this machine.  [default: a new one]",
)
@click.option("--mongodb-exe", default="", help="The mongod program.  [default: as a judicator finds it]")
@cluster_options
def restore(
    file: Path,
    data_dir: Path | None,
    as_json: bool,
    verify: bool,
    judicator_data_dir: Path | None,
    secret_file: Path | None,
    mongodb_exe: str,
) -> int:
    """Make a new cluster out of a backup.

    \b
      khala restore --verify khala.backup
      khala restore khala.backup --data-dir /srv/khala && khala up --data-dir /srv/khala
      khala restore khala.backup --judicator-data-dir /var/lib/khala

    Only where there are no data. What ran when the backup was made runs again.
    """
    from khala.node.restore import restore_backup, verify_backup

    if verify:
        with progress_bar("verify", hidden=as_json) as progress:
            _tell(file, verify_backup(file, progress), as_json)
        return Exit.OK
    if judicator_data_dir is not None and (data_dir is not None or secret_file is not None):
        raise click.UsageError("--judicator-data-dir stands alone: the judicator is told its secret itself")
    token = f"khala_{secrets.token_urlsafe(32)}"
    with progress_bar("restore", hidden=as_json) as progress:
        if judicator_data_dir is not None:
            place = judicator_data_dir.absolute()
            contents = restore_backup(file, place, progress, admin_token=token, mongodb_exe=mongodb_exe)
        else:
            place = (data_dir or default_data_dir(os.environ)).absolute()
            with fresh_cluster(place, token, _secret(secret_file)) as directory:
                contents = restore_backup(
                    file, directory, progress, admin_token=token, mongodb_exe=mongodb_exe
                )
    _tell(file, contents, as_json, token=token, data_dir=str(place))
    if not as_json and judicator_data_dir is None:
        note(
            f"`khala up --data-dir {place}` runs it; its token: khala status --show-token --data-dir {place}"
        )
    elif not as_json:
        note(f"one more administrator's token, shown only now: {token}")
        note(f"start `khala judicator --data-dir {place} --etcd-cluster-init-independent …`")
    return Exit.OK


def _secret(path: Path | None) -> str:
    if path is None:
        return ""
    secret = path.read_text().strip()
    if not secret:
        raise ConfigurationError(f"--secret-file: {path} is empty: write the cluster's secret into it")
    return secret


def _tell(file: Path, contents: Contents, as_json: bool, **more: Any) -> None:
    """What is in the backup."""
    if as_json:
        print_json({"file": str(file), **dataclasses.asdict(contents), **more})
        return
    made = moment(datetime.fromtimestamp(contents.made_at, UTC))
    note(f"{file} is whole: made at {made} by Khala {contents.khala}, of cluster {contents.cluster_id}")
    print_table(("COLLECTION", "DOCUMENTS"), sorted(contents.documents.items()))
