"""`khala show`, `ls`, `cancel`, `retry`: tasks that exist already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.each import tell_each
from khala.cli.exits import Exit, note
from khala.cli.output import moment, print_json, print_table
from khala.client import STATES, DifferenceView, OutputView, PhaseView, TaskPageView, TaskView
from khala.sizes import MIB


@click.command()
@click.argument("task_id")
@cluster_options
def show(task_id: str, data_dir: Path | None, as_json: bool) -> int:
    """Show one task: its standing, its times, its output.

    \b
      khala show 65f0c1a2b3c4d5e6f7a8b9c0
    """
    with connect(data_dir) as client:
        task = client.get(task_id)
    if as_json:
        print_json(task.raw)
    else:
        print_task(task)
    return Exit.OK


def print_task(task: TaskView) -> None:
    """A task for reading."""
    ended = f" ({task.exit_reason.replace('_', ' ')})" if task.exit_reason else ""
    click.echo(f"{task.id}  {task.state}{ended}  {task.name}")
    if task.reason:
        click.echo(f"reason    {task.reason}")
    click.echo(f"created   {moment(task.created_at)}")
    click.echo(f"started   {moment(task.started_at)}  attempt {task.attempt} on {task.executor or '-'}")
    click.echo(f"finished  {moment(task.finished_at)}")
    if task.verdict not in ("", "not_judged"):
        click.echo(f"verdict   {task.verdict.replace('_', ' ')}")
    if task.difference is not None:
        _print_difference(task.difference)
    for file in task.outputs:
        click.echo(f"output    {file.path}  {file.size} bytes")
    for name, phase in (("compile", task.compile), ("execute", task.execute)):
        if phase is not None:
            _print_phase(name, phase)


def _print_difference(difference: DifferenceView) -> None:
    click.echo(f"          the first difference is in line {difference.line}, column {difference.column}")
    for side, excerpt in (("expected", difference.expected), ("actual", difference.actual)):
        # As Python would write it: an excerpt may hold what a terminal would obey.
        click.echo(
            f"          {side:<9} {excerpt!r}" if excerpt else f"          {side:<9} the end of the output"
        )


def _print_phase(name: str, phase: PhaseView) -> None:
    end = f"signal {phase.signal}" if phase.signal is not None else f"exit code {phase.exit_code}"
    click.echo(f"{name}   {end}, {phase.wall_time_s:.3f} s, at most {phase.max_rss_bytes / MIB:.1f} MiB")
    _print_output("stdout", phase.stdout)
    _print_output("stderr", phase.stderr)


def _print_output(name: str, output: OutputView) -> None:
    if not output.size:
        return
    cut = ", its middle left out" if output.left_out else ""
    click.echo(f"--- {name} ({output.size} bytes{cut})")
    click.echo(output.text, nl=not output.text.endswith("\n"))


@click.command()
@click.option("--state", type=click.Choice(STATES), help="Only tasks in this state.")
@click.option("--name-prefix", default="", help="Only tasks whose name begins so.")
@click.option("--label", default="", metavar="K=V", help="Only tasks with this label.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@click.option("--page-token", default="", help="Go on where an earlier list ended.")
@cluster_options
def ls(
    data_dir: Path | None,
    as_json: bool,
    state: str | None,
    name_prefix: str,
    label: str,
    limit: int,
    page_token: str,
) -> int:
    """List tasks, newest first.

    \b
      khala ls --state running
      khala ls --name-prefix night- --limit 100
    """
    with connect(data_dir) as client:
        page = TaskPageView(tasks=(), next_page_token=page_token)
        while not page.tasks:  # a page may have none of those that were looked for, and go on all the same
            page = client.list(
                page_size=limit,
                page_token=page.next_page_token,
                state=state or "",
                name_prefix=name_prefix,
                label=label,
            )
            if not page.next_page_token:
                break
    if as_json:
        print_json({"tasks": [task.raw for task in page.tasks], "next_page_token": page.next_page_token})
        return Exit.OK
    rows = [
        (
            task.id,
            task.state,
            task.exit_reason or "-",
            moment(task.created_at),
            task.executor or "-",
            task.name,
        )
        for task in page.tasks
    ]
    print_table(("TASK", "STATE", "EXIT", "CREATED", "EXECUTOR", "NAME"), rows)
    if page.next_page_token:
        note(f"more: khala ls --page-token {page.next_page_token}")
    return Exit.OK


@click.command()
@click.argument("task_ids", nargs=-1, required=True)
@cluster_options
def cancel(task_ids: Sequence[str], data_dir: Path | None, as_json: bool) -> int:
    """Stop tasks, with all their processes.

    \b
      khala cancel 65f0c1a2b3c4d5e6f7a8b9c0
      khala ls --state pending --json | jq -r '.tasks[].id' | xargs khala cancel

    Exits with 4 if one of them does not exist or is finished already; the others are cancelled.
    """
    with connect(data_dir) as client:

        def tell(task_id: str) -> tuple[object, str]:
            return client.cancel(task_id), f"{task_id}  cancel requested"

        return tell_each(task_ids, tell, as_json=as_json)


@click.command()
@click.argument("task_ids", nargs=-1, required=True)
@cluster_options
def retry(task_ids: Sequence[str], data_dir: Path | None, as_json: bool) -> int:
    """Run finished tasks again, as new tasks; prints their ids.

    \b
      khala retry 65f0c1a2b3c4d5e6f7a8b9c0

    Exits with 4 if one of them does not exist or is not finished; the others are run.
    """
    with connect(data_dir) as client:

        def tell(task_id: str) -> tuple[object, str]:
            created = client.retry(task_id)
            return {"id": created, "retried_from": task_id}, created

        return tell_each(task_ids, tell, as_json=as_json)
