"""`khala run -- CMD…`: a command on the cluster as if it ran here."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.exits import Exit, note, tell
from khala.cli.live import PHASES, STREAMS, LiveOutput, write_through
from khala.cli.output import print_json
from khala.cli.standard_input import read_standard_input, with_standard_input
from khala.cli.task_exit import exit_code, print_end, print_output
from khala.cli.task_options import build_task, task_options
from khala.client import WAIT_SLICE_S, Client, TaskView, new_key
from khala.errors import ConfigurationError, KhalaError, Refusal, Unavailable

_AFTER_CANCEL_S = 10.0
_LIVE_AFTER_S = 0.2
"""What is over by then is printed at once, with one question instead of one for each stream."""


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.option(
    "-i/-n",
    "--stdin/--no-stdin",
    "with_stdin",
    default=None,
    help="Pass standard input on, or none.  [default: a file's or a pipe's]",
)
@task_options
@cluster_options
@click.argument("command", nargs=-1, required=True)
def run(
    command: Sequence[str], data_dir: Path | None, as_json: bool, with_stdin: bool | None, **description: Any
) -> int:
    """Run a command on the cluster, print its output as it comes, exit as it did.

    \b
      khala run -- echo hello
      khala run --input-file main.c --compile 'cc -o main main.c' -- ./main
      sort < names | khala run -- uniq -c

    Exit code: the command's own; 128 + N after signal N; 124 if a time limit ended it; 125 if Khala
    could not run it; 130 after Ctrl-C, which cancels the task.
    """
    try:
        task = build_task(command, **description)
        with connect(data_dir) as client:
            task = with_standard_input(client, task, read_standard_input(with_stdin))
            done = _run(client, task, live=not as_json)
    except ConfigurationError:
        raise
    except KhalaError as failure:
        tell(failure)
        return Exit.NO_OUTCOME
    if done is None:
        return Exit.INTERRUPTED
    if as_json:
        print_json(done.raw)
    else:
        print_end(done)
    return exit_code(done)


def _run(client: Client, task: Mapping[str, Any], *, live: bool) -> TaskView | None:
    """Submit, show the output, wait; None after Ctrl-C, when the task has been cancelled."""
    key = new_key()
    task_id = ""
    try:
        started = client.start(task, wait_s=_LIVE_AFTER_S if live else WAIT_SLICE_S, key=key)
        task_id = started.id
        if not live:
            return started if started.finished else client.wait(task_id)
        return _shown(client, started, task)
    except KeyboardInterrupt:
        # The same key answers with the id, also if Ctrl-C came before the first answer did.
        task_id = task_id or client.submit(task, key=key)
        note(f"khala: cancelling task {task_id}")
        # Refused: it has just finished. Still not finished after the wait: its end is on the way.
        with contextlib.suppress(Refusal):
            client.cancel(task_id)
            with contextlib.suppress(Unavailable):
                client.wait(task_id, timeout_s=_AFTER_CANCEL_S)
        return None


def _shown(client: Client, started: TaskView, task: Mapping[str, Any]) -> TaskView:
    """The finished task, whose output was printed: at its end if that came soon, or else as it came."""
    if started.finished:
        print_output(client, started)
        return started
    places = [(phase, stream) for phase in PHASES if phase in task for stream in STREAMS]
    LiveOutput(client, started.id, places, write_through).show(1)
    return client.wait(started.id)
