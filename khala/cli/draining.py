"""`khala drain`, `khala undrain`: an executor that shall take nothing more, and one that shall again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.each import tell_each
from khala.cli.exits import Exit
from khala.client import Client

_ASK_AGAIN_S = 0.3


@click.command()
@click.argument("executors", nargs=-1, required=True)
@click.option("--wait", is_flag=True, help="Until nothing runs there any more.")
@cluster_options
def drain(executors: Sequence[str], wait: bool, data_dir: Path | None, as_json: bool) -> int:
    """Let executors take no more tasks; what runs there goes on, what waits there goes elsewhere.

    \b
      khala drain executor-2
      khala drain --wait executor-2        then its machine can be stopped

    Forgotten when the executor starts anew. Exits with 4 if one is not known.
    """
    with connect(data_dir) as client:

        def tell(executor: str) -> tuple[object, str]:
            return client.drain(executor), f"{executor}  takes no more tasks"

        code = tell_each(executors, tell, as_json=as_json)
        if wait and code == Exit.OK:
            _until_idle(client, frozenset(executors))
    return code


@click.command()
@click.argument("executors", nargs=-1, required=True)
@cluster_options
def undrain(executors: Sequence[str], data_dir: Path | None, as_json: bool) -> int:
    """Let executors take tasks again.

    \b
      khala undrain executor-2

    Exits with 4 if one is not known.
    """
    with connect(data_dir) as client:

        def tell(executor: str) -> tuple[object, str]:
            return client.undrain(executor), f"{executor}  takes tasks again"

        return tell_each(executors, tell, as_json=as_json)


def _until_idle(client: Client, executors: frozenset[str]) -> None:
    """Ask until nothing is assigned to any of them."""
    while any(one["assigned"] or one["running"] for one in client.executors() if one["id"] in executors):
        time.sleep(_ASK_AGAIN_S)
