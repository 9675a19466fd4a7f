"""`khala drain`, `khala undrain`: an executor that shall take nothing more, and one that shall again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.exits import Exit, note
from khala.cli.output import print_json
from khala.client import Client
from khala.client.answers import Drain
from khala.errors import Refusal

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
        code = _ordered(client.drain, executors, "takes no more tasks", as_json=as_json)
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
        return _ordered(client.undrain, executors, "takes tasks again", as_json=as_json)


def _ordered(order: Callable[[str], Drain], executors: Sequence[str], said: str, *, as_json: bool) -> int:
    """Tell each of them; those that are known are told whatever the others are."""
    answers: list[object] = []
    refused = False
    for executor in executors:
        try:
            answers.append(order(executor))
        except Refusal as refusal:
            refused = True
            note(f"khala: {executor}: {refusal}")
            answers.append({"id": executor, "error": {"code": refusal.code, "detail": refusal.detail}})
            continue
        if not as_json:
            click.echo(f"{executor}  {said}")
    if as_json:
        print_json({"results": answers})
    return Exit.REFUSED if refused else Exit.OK


def _until_idle(client: Client, executors: frozenset[str]) -> None:
    """Ask until nothing is assigned to any of them."""
    while any(one["assigned"] or one["running"] for one in client.executors() if one["id"] in executors):
        time.sleep(_ASK_AGAIN_S)
