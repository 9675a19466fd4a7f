"""`khala status`: the processes of the local cluster, its executors and its tasks."""

from __future__ import annotations

import dataclasses
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.exits import Exit
from khala.cli.output import print_json, print_table, since
from khala.errors import KhalaError, Unavailable
from khala.local.data_directory import default_data_dir
from khala.local.record import ClusterRecord, read_record

_IN_TIME_S = 1.5


@click.command()
@click.option("--show-token", is_flag=True, help="Print the administrator's token and nothing else.")
@cluster_options
def status(data_dir: Path | None, as_json: bool, show_token: bool) -> int:
    """Show the cluster that `khala up` runs on this machine.

    \b
      khala status
      curl -H "Authorization: Bearer $(khala status --show-token)" http://127.0.0.1:7000/api/v1/stats

    Exits with 3 if it is not running.
    """
    directory = (data_dir or default_data_dir(os.environ)).absolute()
    record = read_record(directory)
    if record is None:
        raise Unavailable(f"no cluster is known in {directory}: start one with `khala up`")
    if show_token:
        click.echo(record.token)
        return Exit.OK
    cluster = _ask(directory) if record.running else {}
    if as_json:
        print_json(_document(record, cluster))
    else:
        _print(record, cluster)
    return Exit.OK if record.running else Exit.UNREACHABLE


def _ask(directory: Path) -> Mapping[str, Any]:
    """What the cluster says of itself in time; a cluster in trouble still has processes to show.

    All at once: a gateway without a judicator takes its time before it says so.
    """
    client = connect(directory, patience_s=0.0)
    questions: Mapping[str, Callable[[], object]] = {
        "tasks": lambda: client.stats()["tasks"],
        "executors": client.executors,
        "judicators": client.judicators,
    }
    answers: queue.SimpleQueue[tuple[str, object]] = queue.SimpleQueue()

    def ask(name: str) -> None:
        try:
            answers.put((name, questions[name]()))
        except KhalaError as failure:
            answers.put(("problem", str(failure)))

    for name in questions:
        threading.Thread(target=ask, args=(name,), daemon=True).start()
    known: dict[str, object] = {}
    deadline = time.monotonic() + _IN_TIME_S
    try:
        for _ in questions:
            name, answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            known[name] = answer
    except queue.Empty:
        missing = ", ".join(name for name in questions if name not in known)
        known.setdefault("problem", f"no answer about {missing} within {_IN_TIME_S} s")
    return known


def _document(record: ClusterRecord, cluster: Mapping[str, Any]) -> Mapping[str, Any]:
    document = dataclasses.asdict(record)
    del document["token"]
    for shown, entry in zip(document["processes"], record.processes, strict=True):
        shown["running"] = entry.identity is not None and entry.identity.alive()
    return {**document, "running": record.running, "cluster": cluster}


def _print(record: ClusterRecord, cluster: Mapping[str, Any]) -> None:
    state = record.state if record.running else "not running (start it with `khala up`)"
    click.echo(f"{record.gateway}  {state}  Khala {record.version}")
    rows = []
    for entry in record.processes:
        alive = entry.identity is not None and entry.identity.alive()
        pid = entry.identity.pid if alive and entry.identity else "-"
        rows.append(
            (entry.name, pid, since(entry.started_at) if alive else "-", entry.restarts, entry.last_exit)
        )
    print_table(("PROCESS", "PID", "UP", "RESTARTS", "LAST EXIT"), rows)
    for judicator in cluster.get("judicators", ()):
        for service, count in judicator["restarts"].items():
            if count:
                click.echo(f"{service} of {judicator['name']} died and was started again: {count} ×")
    if "problem" in cluster:
        click.echo(f"the cluster does not answer all: {cluster['problem']}")
    if "tasks" in cluster:
        counts = {name: count for name, count in cluster["tasks"].items() if count}
        click.echo("tasks: " + (", ".join(f"{count} {name}" for name, count in counts.items()) or "none"))
    if "executors" in cluster:
        click.echo(f"executors: {len(cluster['executors'])}")
