"""`khala executors`, `khala judicators`: who belongs to the cluster."""

from __future__ import annotations

from pathlib import Path

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.exits import Exit
from khala.cli.output import print_json, print_table


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


@click.command()
@cluster_options
def judicators(data_dir: Path | None, as_json: bool) -> int:
    """List the judicators and say which one leads.

    \b
      khala judicators
    """
    with connect(data_dir) as client:
        found = client.judicators()
    if as_json:
        print_json({"judicators": found})
        return Exit.OK
    rows = [
        (entry.get("name", ""), entry.get("address", ""), "leads" if entry.get("leader") else "")
        for entry in found
    ]
    print_table(("JUDICATOR", "ADDRESS", ""), rows)
    return Exit.OK
