"""`khala executors`, `khala judicators`: who belongs to the cluster, and who no longer shall."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.exits import Exit, note
from khala.cli.output import print_json, print_table

BEHIND_S = 2
"""A mongod that is less far behind the primary is told as up to date."""


@click.command()
@cluster_options
def executors(data_dir: Path | None, as_json: bool) -> int:
    """List the executors: slots, load, running tasks.

    \b
      khala executors
    """
    with connect(data_dir) as client:
        found = client.executors()
    if as_json:
        print_json({"executors": found})
        return Exit.OK
    rows = [
        (
            entry.get("id", ""),
            entry.get("hostname", ""),
            f"{len(entry.get('running', ()))}/{entry.get('slots', 0)}",
            f"{entry.get('load', 0.0):.2f}",
            "draining" if entry.get("draining") else "",
            ", ".join(f"{key}={value}" for key, value in entry.get("labels", {}).items()),
        )
        for entry in found
    ]
    print_table(("EXECUTOR", "HOST", "RUNNING", "LOAD", "", "LABELS"), rows)
    return Exit.OK


@click.group(invoke_without_command=True)
@cluster_options
@click.pass_context
def judicators(context: click.Context, data_dir: Path | None, as_json: bool) -> int:
    """List the judicators and say which one leads.

    \b
      khala judicators
      khala judicators remove judicator-3
    """
    if context.invoked_subcommand is not None:
        return Exit.OK
    with connect(data_dir) as client:
        found = client.judicators()
    if as_json:
        print_json({"judicators": found})
        return Exit.OK
    rows = [
        (
            entry.get("name", ""),
            entry.get("address", ""),
            _standing(entry),
            _replica(entry),
        )
        for entry in found
    ]
    print_table(("JUDICATOR", "ADDRESS", "", "MONGOD"), rows)
    return Exit.OK


@judicators.command()
@click.argument("name")
@cluster_options
@click.pass_context
def remove(context: click.Context, name: str, data_dir: Path | None, as_json: bool) -> int:
    """Take a judicator out of the cluster, whether it runs or is lost for good.

    \b
      khala judicators remove judicator-3

    Refused if too few of the others live. One that comes back sets its data aside and joins afresh.
    """
    group = context.parent.params if context.parent is not None else {}
    with connect(data_dir or group.get("data_dir")) as client:
        client.remove_judicator(name)
    if as_json or group.get("as_json"):
        print_json({"name": name, "leaving": True})
    else:
        note(f"{name} is being removed: `khala judicators` shows when it is gone")
    return Exit.OK


@click.command()
@cluster_options
def cluster(data_dir: Path | None, as_json: bool) -> int:
    """Say how the cluster is: who leads, what it can lose, what it runs.

    \b
      khala cluster

    Exits with 3 if it cannot accept tasks now.
    """
    with connect(data_dir) as client:
        found = client.cluster()
        stats = client.stats() if found["ready"] else None
        workers = client.executors() if found["ready"] else ()
    if as_json:
        print_json({**found, "stats": stats, "executors": workers})
        return Exit.OK if found["ready"] else Exit.UNREACHABLE
    epoch = found["epoch"]
    click.echo(f"state       {'ready' if found['ready'] else 'cannot accept tasks now'}, {found['security']}")
    click.echo(f"leader      {found['leader'] or 'none'}, epoch {epoch['number']}")
    click.echo(f"judicators  {len(found['judicators'])}, of which {found['survives']} more may be lost")
    for judicator in found["judicators"]:
        click.echo(f"            {judicator['name']}  {_replica(judicator)}  {_standing(judicator)}")
    slots = sum(worker["slots"] for worker in workers if not worker["draining"])
    draining = sum(worker["draining"] for worker in workers)
    click.echo(
        f"executors   {len(workers)} with {slots} slots" + (f", {draining} draining" if draining else "")
    )
    counts = {name: count for name, count in (stats or {"tasks": {}})["tasks"].items() if count}
    click.echo("tasks       " + (", ".join(f"{count} {name}" for name, count in counts.items()) or "none"))
    return Exit.OK if found["ready"] else Exit.UNREACHABLE


def _replica(entry: Mapping[str, Any]) -> str:
    """The state of its mongod, whether that has yet to be given its vote, and how far it is behind."""
    state = entry.get("replica_state") or "?"
    if not entry.get("voting", True) and state in ("primary", "secondary"):
        return f"{state}, no vote"
    behind_s = entry.get("replica_lag") or 0
    return f"{state}, {behind_s:.0f} s behind" if behind_s >= BEHIND_S else str(state)


def _standing(entry: Mapping[str, Any]) -> str:
    if entry.get("leaving"):
        return "leaving"
    if not entry.get("live", True):
        return "down"
    return "leads" if entry.get("leader") else ""
