"""`khala wait`: until tasks are finished."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.exits import Exit, tell
from khala.cli.output import print_json_line
from khala.client import NotFinished


@click.command()
@click.argument("task_ids", nargs=-1, required=True)
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer.")
@cluster_options
def wait(task_ids: Sequence[str], timeout: float | None, data_dir: Path | None, as_json: bool) -> int:
    """Wait until tasks are finished, and say of each how it ended, in the order of their ends.

    \b
      khala wait 65f0c1a2b3c4d5e6f7a8b9c0
      khala submit --file tasks.json | xargs khala wait

    Exit code: 0 if all succeeded, 1 if one did not, 124 if --timeout was over before, 4 if there is no such task.
    """  # noqa: E501 - a paragraph for click to wrap
    good = True
    with connect(data_dir) as client:
        try:
            for task in client.as_completed(task_ids, timeout_s=timeout):
                good &= task.state == "succeeded"
                if as_json:
                    print_json_line(task.raw)
                else:
                    click.echo(f"{task.id}  {task.state}  {task.reason or task.exit_reason}")
        except NotFinished as late:
            tell(late)
            return Exit.TIME_LIMIT
    return Exit.OK if good else Exit.ERROR
