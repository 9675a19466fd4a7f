"""`khala job submit|ls|show|wait|results|cancel|retry`: many tasks of one template."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.exits import Exit, note, tell
from khala.cli.job_arrays import array_of
from khala.cli.live import write_all
from khala.cli.output import moment, print_json, print_table
from khala.cli.status_line import StatusLine
from khala.cli.submit import read_document
from khala.cli.task_options import build_task, task_options
from khala.client import Client, JobView, NotFinished


@click.group()
def job() -> None:
    """Jobs: up to 100,000 tasks of one template, made by the cluster itself.

    \b
      khala job submit --values x=1,2,3 -- ./sim {x}      prints the job's id
      khala job wait JOB
      khala job results JOB > results.csv

    Each of them takes --json.
    """


@job.command(context_settings={"allow_interspersed_args": False})
@click.option("--file", metavar="FILE", help="The whole job as JSON, as in POST /jobs; - is standard input.")
@click.option(
    "--range", "numbers", metavar="[START:]STOP[:STEP]", help="Whole numbers up to before STOP, as {value}."
)
@click.option(
    "--values", multiple=True, metavar="NAME=A,B,…", help="Values of {NAME}; several: every combination."
)
@click.option(
    "--csv", metavar="FILE", help="One task a line; the header names the places; - is standard input."
)
@click.option("--max-parallel", type=click.IntRange(0), metavar="N", help="At most N at a time.")
@click.option(
    "--max-failures", type=click.IntRange(0), metavar="N", help="After more failures cancel the rest."
)
@click.option("--key", default="", help="Idempotency key: the same key never creates the job twice.")
@click.option("--wait", is_flag=True, help="Until it is finished, as `khala job wait`.")
@task_options
@cluster_options
@click.argument("command", nargs=-1)
def submit(
    command: Sequence[str], data_dir: Path | None, as_json: bool, file: str | None, numbers: str | None,
    values: Sequence[str], csv: str | None, max_parallel: int | None, max_failures: int | None, key: str,
    wait: bool, **description: Any,
) -> int:  # fmt: skip
    """Create a job and print its id. {NAME} and {index} in the command stand for each task's values.

    \b
      khala job submit --range 100 -- ./sim --seed {value}
      khala job submit --values lr=0.1,0.01 --values seed=1,2,3 -- ./train {lr} {seed}
      khala job submit --csv runs.csv --max-parallel 10 --wait -- ./run {input} {size}
      khala job submit --file job.json
    """
    if (file is None) == (not command):
        raise click.UsageError("give a command after --, or --file: one of them")
    if file is not None:
        body = read_document(file, dict)
    else:
        body = {"task": build_task(command, **description), "array": array_of(numbers, values, csv)}
        body |= {"name": description["name"]} if description["name"] else {}
        bounds = {"max_parallel": max_parallel, "max_failures": max_failures}
        body |= {name: bound for name, bound in bounds.items() if bound is not None}
    with connect(data_dir) as client:
        created = client.submit_job(body, key=key)
        if not wait:
            print_json(created.raw) if as_json else click.echo(created.id)
            return Exit.OK
        note(f"khala: job {created.id}")
        return _wait(client, created.id, None, as_json)


@job.command()
@click.argument("job_id")
@click.option("--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Wait no longer.")
@cluster_options
def wait(job_id: str, timeout: float | None, data_dir: Path | None, as_json: bool) -> int:
    """Wait until a job is finished, and say how it ended.

    \b
      khala job wait 65f0c1a2b3c4d5e6f7a8b9c0

    Exit code: 0 if all its tasks succeeded, 1 if not, 124 if --timeout was over before. Ctrl-C leaves it alone.
    """  # noqa: E501 - a paragraph for click to wrap
    with connect(data_dir) as client:
        return _wait(client, job_id, timeout, as_json)


def _wait(client: Client, job_id: str, timeout_s: float | None, as_json: bool) -> int:
    line = StatusLine(hidden=as_json)
    try:
        for seen in client.watch_job(job_id, timeout_s=timeout_s):
            line.show(lambda seen=seen: _counts(seen))  # type: ignore[misc]
    except NotFinished as late:
        tell(late)
        return Exit.TIME_LIMIT
    finally:
        line.clear()
    print_json(seen.raw) if as_json else click.echo(f"{seen.id}  {seen.state}  {_counts(seen)}")
    return Exit.OK if seen.state == "succeeded" else Exit.ERROR


@job.command()
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="At most so many.")
@click.option("--page-token", default="", help="Go on where an earlier list ended.")
@cluster_options
def ls(limit: int, page_token: str, data_dir: Path | None, as_json: bool) -> int:
    """List jobs, newest first."""
    with connect(data_dir) as client:
        page = client.jobs(page_size=limit, page_token=page_token)
    if as_json:
        print_json({"jobs": [one.raw for one in page.jobs], "next_page_token": page.next_page_token})
        return Exit.OK
    rows = [(one.id, one.state, _counts(one), moment(one.created_at), one.name) for one in page.jobs]
    print_table(("JOB", "STATE", "TASKS", "CREATED", "NAME"), rows)
    if page.next_page_token:
        note(f"more: khala job ls --page-token {page.next_page_token}")
    return Exit.OK


@job.command()
@click.argument("job_id")
@cluster_options
def show(job_id: str, data_dir: Path | None, as_json: bool) -> int:
    """Show one job: its standing, and how many of its tasks are in which state."""
    with connect(data_dir) as client:
        found = client.job(job_id)
    if as_json:
        print_json(found.raw)
        return Exit.OK
    click.echo(f"{found.id}  {found.state}  {found.name}")
    if found.reason:
        click.echo(f"reason    {found.reason}")
    click.echo(f"created   {moment(found.created_at)}")
    click.echo(f"finished  {moment(found.finished_at)}")
    click.echo(f"values    {', '.join(found.names)}")
    click.echo(
        f"tasks     {_counts(found)}" + (f", {found.created} made" if found.created < found.total else "")
    )
    return Exit.OK


@job.command()
@click.argument("job_id")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is finished.")
@cluster_options
def results(job_id: str, follow: bool, data_dir: Path | None, as_json: bool) -> int:
    """Print what came of the finished tasks, in the order of the values: CSV, or with --json an object a line.

    \b
      khala job results 65f0c1a2b3c4d5e6f7a8b9c0 > results.csv
      khala job results -f --json 65f0c1a2b3c4d5e6f7a8b9c0 | jq .exit_code
    """  # noqa: E501 - a paragraph for click to wrap
    with connect(data_dir) as client:
        for piece in client.raw_results(job_id, form="ndjson" if as_json else "csv", follow=follow):
            write_all(sys.stdout.fileno(), piece)
    return Exit.OK


@job.command()
@click.argument("job_id")
@cluster_options
def cancel(job_id: str, data_dir: Path | None, as_json: bool) -> int:
    """End all tasks of a job, those that are still to be made too."""
    with connect(data_dir) as client:
        found = client.cancel_job(job_id)
    print_json(found.raw) if as_json else click.echo(f"{found.id}  cancel requested")
    return Exit.OK


@job.command()
@click.argument("job_id")
@click.option("--cancelled", is_flag=True, help="Those that were cancelled, too.")
@cluster_options
def retry(job_id: str, cancelled: bool, data_dir: Path | None, as_json: bool) -> int:
    """Run those tasks again that failed, as a new job; prints its id."""
    states = ("failed", "cancelled") if cancelled else ("failed",)
    with connect(data_dir) as client:
        created = client.retry_job(job_id, states=states)
    print_json(created.raw) if as_json else click.echo(created.id)
    return Exit.OK


def _counts(job: JobView) -> str:
    others = ", ".join(f"{count} {state}" for state, count in job.counts.items() if count)
    return f"{job.done}/{job.total} done" + (f": {others}" if others else "")
