"""`khala doctor`: what this host has of what Khala uses."""

from __future__ import annotations

import click

from khala.cli.connecting import json_option
from khala.cli.exits import Exit
from khala.cli.output import print_json, print_table
from khala.local.host_check import Finding, check_container, check_host
from khala.node.isolation_check import check_isolation


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Say what this host has for a local cluster, and how to get what it lacks.

    \b
      khala doctor

    Exits with 1 if something is missing without which `khala up` cannot work.
    """
    findings = (*check_host(), *_isolation())
    if as_json:
        print_json([{"what": one.what, "found": one.found, "state": one.state} for one in findings])
    else:
        print_table(("WHAT", "STATE", "FOUND"), [(one.what, one.state, one.found) for one in findings])
    return Exit.ERROR if any(one.state == "missing" for one in findings) else Exit.OK


def _isolation() -> tuple[Finding, ...]:
    levels, layers = check_isolation()
    return (
        Finding(what="isolation", state="ok" if levels else "missing", found=levels or "no level holds"),
        *(
            Finding(what=layer, state="ok" if text.startswith("ok") else "optional", found=text)
            for layer, text in layers.items()
        ),
        *check_container(lacking=[layer for layer, text in layers.items() if not text.startswith("ok")]),
    )
