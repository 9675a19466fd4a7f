"""`khala explain`: why a task waits, or how it came to its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.exits import Exit
from khala.cli.output import print_json, print_table
from khala.sizes import shown_size

_SIZES = frozenset({"memory", "output_size", "disk"})


@click.command()
@click.argument("task_id")
@cluster_options
def explain(task_id: str, data_dir: Path | None, as_json: bool) -> int:
    """Say why a task waits, or what ended it and what it used of its limits.

    \b
      khala explain 65f0c1a2b3c4d5e6f7a8b9c0
    """
    with connect(data_dir) as client:
        told = client.explain(task_id)
    if as_json:
        print_json(told)
        return Exit.OK
    ended = f" ({exit_reason.replace('_', ' ')})" if (exit_reason := told.get("exit_reason")) else ""
    click.echo(f"{told['id']}  {told['state']}{ended}")
    if told.get("reason"):
        click.echo(f"reason    {told['reason']}")
    if told.get("earlier_reason"):
        click.echo(f"before    {told['earlier_reason']}")
    if until := told.get("not_before"):
        click.echo(f"until     {until}")
    if gives_up_at := told.get("queue_timeout_at"):
        click.echo(f"gives up  {gives_up_at}")
    if others := told.get("dependencies"):
        waits = [(each["task_id"], each["condition"], each["state"]) for each in others]
        print_table(("WAITS FOR", "TO BE", "NOW"), waits)
    if told.get("executors"):
        rows = [(each["id"], "; ".join(each["obstacles"]) or "could take it") for each in told["executors"]]
        print_table(("EXECUTOR", "FOR THIS TASK"), rows)
    used = [row for phase, usage in (told.get("usage") or {}).items() for row in _rows(phase, usage)]
    if used:
        print_table(("PHASE", "OF", "USED", "LIMIT"), used)
    return Exit.OK


def _rows(phase: str, usage: Mapping[str, Mapping[str, Any]]) -> list[tuple[object, ...]]:
    return [
        (phase, name.replace("_", " "), _shown(name, each["used"]), _shown(name, each["limit"]))
        for name, each in usage.items()
        if each["used"] is not None
    ]


def _shown(name: str, value: float | None) -> str:
    if not value:
        return "-"
    return shown_size(int(value)) if name in _SIZES else f"{value:.15g}"
