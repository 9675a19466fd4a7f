"""`khala demo`: a whole cluster, one C++ program compiled and run on it, and everything gone again."""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

import click

from khala.cli.connecting import json_option
from khala.cli.exits import Exit, note
from khala.cli.output import print_json
from khala.cli.up import up_arguments
from khala.client import Client, PhaseView, TaskView
from khala.errors import KhalaError
from khala.local.background import start_detached
from khala.local.data_directory import log_path
from khala.local.stopping import stop_cluster
from khala.local.up import UpOrder

_SOURCE = """#include <iostream>

int main()
{
    char line[256];
    std::cin.getline(line, sizeof line);
    std::cout << "From Khala: " << line << std::endl;
    return 0;
}
"""
_TASK = {
    "name": "demo",
    "inputs": [{"path": "main.cpp", "content": _SOURCE}],
    "compile": {"command": "g++ -g -Wall -o main main.cpp", "limits": {"wall_time": 10}},
    "execute": {"command": "./main", "stdin": "Hello World!\n", "limits": {"wall_time": 1}},
}
_EXPECTED = b"From Khala: Hello World!\n"
_PATIENCE_S = 60.0


@click.command()
@click.option("--keep", is_flag=True, help="Keep the cluster's directory, with its logs.")
@json_option
def demo(as_json: bool, keep: bool) -> int:
    """Bring a cluster up, compile and run a C++ program on it, take it down.

    \b
      khala demo

    Needs g++. Works in a temporary directory; if something goes wrong, the logs are kept there.
    """
    directory = Path(tempfile.mkdtemp(prefix="khala-demo-"))
    right = False
    try:
        task = _on_a_cluster(directory)
        right = (
            task.state == "succeeded" and task.execute is not None and task.execute.stdout.head == _EXPECTED
        )
        if as_json:
            print_json(task.raw)
        else:
            _print(task)
    finally:
        stop_cluster(directory, note)
        if right and not keep:
            shutil.rmtree(directory)
        else:
            note(f"the cluster's directory with its logs: {directory}")
    if not right:
        raise KhalaError("the demo task did not print what it should have: see its output above")
    note("the demo is done, and its cluster is gone")
    return Exit.OK


def _on_a_cluster(directory: Path) -> TaskView:
    """Start a cluster in `directory` and run the task on it. The cluster ends with this process."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    arguments = [*up_arguments(UpOrder(data_dir=directory, port=0)), f"--end-with-fd={reading}"]
    try:
        ready, reason, _ = start_detached(arguments, note, log_path(directory, "up"), inherited=(reading,))
    finally:
        os.close(reading)
    # `writing` stays open on purpose: its end, when this process ends, is what ends the cluster.
    if ready is None:
        os.close(writing)
        raise KhalaError(reason)
    note(f"submitting the demo task to {ready['gateway']}")
    with Client(ready["gateway"], ready["token"]) as client:
        return client.run(_TASK, timeout_s=_PATIENCE_S)


def _print(task: TaskView) -> None:
    click.echo(
        f"\ntask {task.id}: {task.state} on {task.executor}{f' ({task.reason})' if task.reason else ''}"
    )
    for name, phase in (("compile", task.compile), ("execute", task.execute)):
        if phase is not None:
            _print_phase(name, phase)
    start = task.created_at
    for word, time in (
        ("created", task.created_at),
        ("started", task.started_at),
        ("finished", task.finished_at),
    ):
        if time is not None and start is not None:
            click.echo(f"  {word:<9} {_clock(time)}  +{(time - start).total_seconds():.3f} s")
    click.echo("")


def _print_phase(name: str, phase: PhaseView) -> None:
    end = f"signal {phase.signal}" if phase.signal is not None else f"exit code {phase.exit_code}"
    click.echo(f"  {name}: {end}, {phase.wall_time_s:.3f} s")
    for stream, output in (("output", phase.stdout), ("error", phase.stderr)):
        for line in output.text.splitlines():
            click.echo(f"    {name} {stream} | {line}")


def _clock(time: datetime) -> str:
    return time.astimezone().strftime("%H:%M:%S.%f")[:-3]
