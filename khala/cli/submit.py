"""`khala submit`: create tasks and go on at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.exits import Exit, note
from khala.cli.output import print_json
from khala.cli.task_options import build_task, task_options
from khala.client import Client
from khala.errors import ConfigurationError


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--file", "file", metavar="FILE", help="A task as JSON, or a list of tasks; - is standard input."
)
@click.option("--key", default="", help="Idempotency key: the same key never creates the task twice.")
@task_options
@cluster_options
@click.argument("command", nargs=-1)
def submit(
    command: Sequence[str],
    data_dir: Path | None,
    as_json: bool,
    file: str | None,
    key: str,
    **description: Any,
) -> int:
    """Create a task and print its id.

    \b
      khala submit --name hello -- echo hello
      khala submit --file task.json
      echo '{"execute": {"command": "date"}}' | khala submit --file -

    With a list in the file, prints one id per task; exits with 4 if any of them was refused.
    """
    if (file is None) == (not command):
        raise click.UsageError("give a command after --, or --file: one of them")
    task = read_document(file, dict | list) if file is not None else build_task(command, **description)
    with connect(data_dir) as client:
        if isinstance(task, list):
            return _submit_many(client, task, key, as_json)
        created = client.submit(task, key=key)
    if as_json:
        print_json({"id": created})
    else:
        click.echo(created)
    return Exit.OK


def _submit_many(client: Client, tasks: Sequence[Mapping[str, Any]], key: str, as_json: bool) -> int:
    results = client.submit_many(tasks, key=key)
    if as_json:
        print_json({"results": results})
    refused = 0
    for number, result in enumerate(results, start=1):
        error = result.get("error")
        if error:
            refused += 1
            note(f"khala: task {number} of {len(results)}: {error.get('detail', error)}")
        elif not as_json:
            click.echo(result["id"])
    return Exit.REFUSED if refused else Exit.OK


def read_document(file: str, kind: type | UnionType) -> Any:
    """The JSON in `file` (- is standard input), which must be of `kind`; ConfigurationError."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        task = json.loads(text)
    except OSError as failure:
        raise ConfigurationError(f"--file: cannot read {file}: {failure.strerror}") from failure
    except ValueError as failure:
        raise ConfigurationError(f"--file: {file} is not JSON: {failure}") from failure
    if not isinstance(task, kind):
        more = "" if kind is dict else ", or a list of objects"
        raise ConfigurationError(f"--file: {file} must hold a JSON object{more}")
    return task
