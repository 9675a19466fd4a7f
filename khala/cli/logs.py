"""`khala logs`: the output of a task, as it is or as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.exits import Exit
from khala.cli.live import PHASES, STREAMS, LiveOutput, Place, Write, write_json, write_through
from khala.client import Client


@click.command()
@click.argument("task_id")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task is finished.")
@click.option(
    "--attempt", type=click.IntRange(1), default=None, help="Of this attempt.  [default: the newest]"
)
@click.option("--phase", type=click.Choice(PHASES), default=None, help="Only of this phase.")
@click.option("--stream", type=click.Choice(STREAMS), default=None, help="Only this stream.")
@click.option("--tail", type=click.IntRange(0), default=None, metavar="BYTES", help="Only the last bytes.")
@cluster_options
def logs(
    task_id: str,
    data_dir: Path | None,
    as_json: bool,
    follow: bool,
    attempt: int | None,
    phase: str | None,
    stream: str | None,
    tail: int | None,
) -> int:
    """Print a task's output: standard output to standard output, standard error to standard error.

    \b
      khala logs 65f0c1a2b3c4d5e6f7a8b9c0
      khala logs -f --stream stdout 65f0c1a2b3c4d5e6f7a8b9c0

    With -f, an attempt that is lost with its executor is followed by the next one's output, unless
    --attempt names one.
    """
    if follow and tail is not None:
        raise click.UsageError("--tail shows what there is; leave out -f")
    places = [(each, kind) for each in _one_or_all(phase, PHASES) for kind in _one_or_all(stream, STREAMS)]
    write = write_json if as_json else write_through
    with connect(data_dir) as client:
        chosen = attempt or client.get(task_id).attempt
        if follow:
            live = LiveOutput(client, task_id, places, write)
            live.show(chosen or 1, others_too=attempt is None)
        elif chosen:
            _show(client, task_id, places, chosen, -1 if tail is None else tail, write)
    return Exit.OK


def _show(
    client: Client, task_id: str, places: Sequence[Place], attempt: int, tail: int, write: Write
) -> None:
    for place in places:
        phase, stream = place
        for piece in client.read_output(task_id, phase=phase, stream=stream, attempt=attempt, tail=tail):
            write(place, piece)


def _one_or_all(chosen: str | None, every: Sequence[str]) -> Sequence[str]:
    return (chosen,) if chosen else every
