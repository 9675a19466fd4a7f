"""`khala map 'CMD {}' ::: a b c`: one command for many values, in the manner of GNU parallel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import filterfalse
from pathlib import Path
from typing import Any

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.exits import Exit, note, tell
from khala.cli.joblog import Joblog
from khala.cli.live import Write, write_through
from khala.cli.map_sources import Row, rows_of
from khala.cli.mapping import Counts, MapRun, Running
from khala.cli.output import print_json_line
from khala.cli.status_line import StatusLine
from khala.cli.tagging import Tagged
from khala.cli.task_exit import exit_code, print_end, print_output
from khala.cli.task_options import build_task, task_options
from khala.client import Client
from khala.errors import ConfigurationError, KhalaError

_PATIENCE_S = 60.0
_MOST_FAILED = 101


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="At most N at a time.  [default: as many as the cluster has room for]",
)
@click.option(
    "-k/-u",
    "--keep-order/--as-completed",
    "keep_order",
    default=True,
    help="Print in the order of the values, or as tasks end.  [default: -k]",
)
@click.option("--tag", is_flag=True, help="Begin each line of output with the values.")
@click.option("--joblog", type=click.Path(path_type=Path, dir_okay=False), help="Write a line for each end.")
@click.option("--resume", is_flag=True, help="Leave out what --joblog names already.")
@click.option("--resume-failed", is_flag=True, help="As --resume, and run again what failed.")
@click.option("--dry-run", is_flag=True, help="Print the commands and run none.")
@task_options
@cluster_options
@click.argument("command", nargs=-1)
def map(
    command: Sequence[str],
    data_dir: Path | None,
    as_json: bool,
    dry_run: bool,
    jobs: int,
    keep_order: bool,
    tag: bool,
    joblog: Path | None,
    resume: bool,
    resume_failed: bool,
    **description: Any,
) -> int:
    """Run a shell command for each value, and print the output in the order of the values.

    \b
      khala map 'gzip -k {}' ::: a.txt b.txt
      khala map 'echo {1}-{2}' ::: a b ::: 1 2      every combination
      seq 100 | khala map --tag 'expr {} + 1'       one value a line
      khala map --joblog log --resume ./sim {} :::: seeds.txt

    {} is the value, {.} without its suffix, {/} its last part, {//} its folder, {/.} the last part without suffix,
    {#} the task's number, {2} the second value; without any of them the value is appended. Without a command the
    values are the commands. Values are quoted for the shell. Ctrl-C cancels what is not finished.

    Exit code: how many failed, 101 for more than 100; 125 if Khala could not go on; 130 after Ctrl-C.
    """  # noqa: E501 - a paragraph for click to wrap
    rows = rows_of(command)
    if dry_run:
        for row in rows:
            click.echo(row.command)
        return Exit.OK
    if (resume or resume_failed) and joblog is None:
        raise click.UsageError("--resume needs --joblog, which names what is done")
    task = build_task(["true"], **description)
    log = (
        None if joblog is None else Joblog(joblog, resume=resume or resume_failed, retry_failed=resume_failed)
    )
    if log is not None:
        done = log.done
        rows = filterfalse(lambda row: row.number in done, rows)
    try:
        with connect(data_dir, patience_s=_PATIENCE_S) as client:
            printer = _Printer(client, as_json=as_json, tag=tag, log=log)
            run = MapRun(
                client=client,
                rows=rows,
                task_of=lambda row: _task_of(task, row),
                at_end=printer.ended,
                in_turn=printer.print,
                most=jobs,
                keep_order=keep_order,
                counts=printer.counts,
            )
            return _run(run, printer)
    except ConfigurationError:
        raise
    except KhalaError as failure:
        tell(
            failure,
            "with --joblog, --resume goes on from here" if log is None else "--resume goes on from here",
        )
        return Exit.NO_OUTCOME
    finally:
        if log is not None:
            log.close()


def _run(run: MapRun, printer: _Printer) -> int:
    try:
        run.run()
    except KeyboardInterrupt:
        printer.line.clear()
        note("khala: cancelling what is not finished")
        note(f"khala: {run.cancel()} tasks were cancelled")
        return Exit.INTERRUPTED
    finally:
        printer.line.clear()
    return min(printer.counts.failed, _MOST_FAILED)


def _code(running: Running) -> int:
    return Exit.NO_OUTCOME if running.task is None else exit_code(running.task)


def _document(running: Running) -> dict[str, Any]:
    row, refusal = running.row, running.refusal
    shown: dict[str, Any] = {"number": row.number, "values": row.values, "command": row.command}
    shown["exit_code"] = _code(running)
    if refusal is not None:
        return shown | {"error": {"code": refusal.code, "detail": refusal.detail, "field": refusal.field}}
    return shown | {"task": running.task.raw if running.task is not None else None}


def _task_of(task: dict[str, Any], row: Row) -> dict[str, Any]:
    return {**task, "execute": {**task["execute"], "command": row.command}}


class _Printer:
    """What a user sees of the tasks."""

    def __init__(self, client: Client, *, as_json: bool, tag: bool, log: Joblog | None) -> None:
        self.counts = Counts()
        self.line = StatusLine(hidden=as_json)
        self._client = client
        self._as_json = as_json
        self._tag = tag
        self._log = log

    def ended(self, running: Running) -> None:
        """As it ends: it is counted and logged."""
        code = _code(running)
        self.counts.failed += code != 0
        if self._log is not None:
            self._log.write(running.row.number, running.row.command, running.task, code)
        self.line.show(self._progress)

    def print(self, running: Running) -> None:
        """At its turn: its output."""
        self.line.clear()
        if self._as_json:
            print_json_line(_document(running))
        elif running.task is not None:
            print_output(self._client, running.task, self._write(running.row))
            print_end(running.task, quiet=True)
        else:
            note(f"khala: {running.row.command}: {running.refusal}")
        self.line.show(self._progress)

    def _write(self, row: Row) -> Write:
        return Tagged("\t".join(row.values)) if self._tag else write_through

    def _progress(self) -> str:
        counts = self.counts
        of = f"{counts.read}" if counts.all_read else f"{counts.read}+"
        failed = f", {counts.failed} failed" if counts.failed else ""
        return f"{counts.done}/{of} done{failed}, {counts.running} submitted"
