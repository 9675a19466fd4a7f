"""`khala down`: end the cluster on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import click

from khala.cli.connecting import cluster_options
from khala.cli.exits import Exit, note
from khala.cli.output import print_json
from khala.local.data_directory import default_data_dir
from khala.local.stopping import stop_cluster


@click.command()
@cluster_options
def down(data_dir: Path | None, as_json: bool) -> int:
    """End the cluster that `khala up` runs; its data stay.

    \b
      khala down
      khala down --data-dir /tmp/other

    Also ends what a killed `khala up` left behind. With nothing to end it says so and exits with 0.
    """
    directory = (data_dir or default_data_dir(os.environ)).absolute()
    stopped = stop_cluster(directory, note)
    if as_json:
        print_json({"stopped": stopped, "data_dir": str(directory)})
    else:
        note(
            f"the cluster in {directory} is stopped" if stopped else f"no cluster was running in {directory}"
        )
    return Exit.OK
