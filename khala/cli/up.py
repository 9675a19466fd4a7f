"""`khala up`: a cluster on this machine, in the foreground or in a session of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from khala.cli.connecting import cluster_options
from khala.cli.exits import Exit, code_of, note, tell
from khala.cli.output import print_json
from khala.cli.parent import end_with
from khala.errors import KhalaError
from khala.local.background import Report, log_to, start_detached
from khala.local.data_directory import DataDirectory, default_data_dir, log_path
from khala.local.record import ClusterRecord
from khala.local.supervisor import Interrupted
from khala.local.up import ROLE_COMMAND, Ready, UpOrder, run_cluster


@click.command()
@click.option(
    "--judicators", type=click.IntRange(1, 99), help="How many judicators.  [default: as before, or 1]"
)
@click.option(
    "--executors", type=click.IntRange(1, 99), help="How many executors.  [default: as before, or 1]"
)
@click.option("--gateways", type=click.IntRange(1, 99), help="How many gateways.  [default: as before, or 1]")
@click.option(
    "--slots",
    type=click.IntRange(1, 99),
    help="Tasks at once per executor.  [default: as before, or its share of the CPUs]",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="HTTP port, 0 for any.  [default: as before, or 7000]"
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address for HTTP; 0.0.0.0 lets others in."
)
@click.option(
    "--auth",
    type=click.Choice(["token", "none"]),
    default="token",
    show_default=True,
    help="none: whoever reaches the port may run commands, without a token.",
)
@click.option("--detach", is_flag=True, help="Return when the cluster is ready; it goes on running.")
@click.option("--report-fd", type=int, hidden=True)
@click.option("--end-with-fd", type=int, hidden=True)
@cluster_options
def up(
    data_dir: Path | None,
    as_json: bool,
    detach: bool,
    report_fd: int | None,
    end_with_fd: int | None,
    **size: Any,
) -> int:
    """Run a whole cluster on this machine.

    \b
      khala up                          until Ctrl-C
      khala up --detach --executors 2   in the background; `khala down` ends it

    A process of it that dies is started again. Its data stay in --data-dir for the next time.
    """
    order = UpOrder(data_dir=(data_dir or default_data_dir(os.environ)).absolute(), **size)
    if end_with_fd is not None:
        end_with(end_with_fd)
    if report_fd is not None:
        return _run_in_background(order, Report(report_fd))
    if order.auth == "none":
        note(f"--auth=none: whoever reaches {order.host} on this cluster's port may run commands here")
    if detach:
        return _detach(order, as_json)
    return _run_in_foreground(order, as_json)


def up_arguments(order: UpOrder) -> list[str]:
    """The command line that starts `order`'s supervisor."""
    arguments = [*ROLE_COMMAND, "up", f"--data-dir={order.data_dir}", f"--host={order.host}"]
    arguments.append(f"--auth={order.auth}")
    for name in ("judicators", "executors", "gateways", "slots", "port"):
        value = getattr(order, name)
        if value is not None:
            arguments.append(f"--{name}={value}")
    return arguments


def summary(order: UpOrder, ready: Ready) -> dict[str, Any]:
    """What `khala up --json` prints."""
    record = ready.record
    return {
        "gateway": record.gateway,
        "token": record.token,
        "data_dir": str(order.data_dir),
        "pids": {**_pids(record), "supervisor": os.getpid()},
        "new_token": ready.new_token,
    }


def _pids(record: ClusterRecord) -> dict[str, int]:
    return {entry.name: entry.identity.pid for entry in record.processes if entry.identity is not None}


def _detach(order: UpOrder, as_json: bool) -> int:
    ready, reason, code = start_detached(up_arguments(order), note, log_path(order.data_dir, "up"))
    if ready is None:
        tell(KhalaError(reason))
        return code
    _announce(ready, as_json, bool(ready["new_token"]), foreground=False)
    return Exit.OK


def _announce(ready: Any, as_json: bool, new_token: bool, *, foreground: bool) -> None:
    if as_json:
        print_json({name: value for name, value in ready.items() if name != "new_token"})
        sys.stdout.flush()
        return
    note(f"the cluster is ready: {ready['gateway']}")
    if new_token or sys.stderr.isatty():  # a later start's log is no place for it
        note(f"in a browser: {ready['gateway']}/#token={ready['token']}")
    if new_token:
        note(f"administrator's token (also: khala status --show-token): {ready['token']}")
    note("Ctrl-C ends it" if foreground else f"`khala down --data-dir {ready['data_dir']}` ends it")


def _run_in_foreground(order: UpOrder, as_json: bool) -> int:
    try:
        run_cluster(
            order,
            environment=os.environ,
            say=note,
            when_claimed=_nothing_more,
            when_ready=lambda ready: _announce(
                summary(order, ready), as_json, ready.new_token, foreground=True
            ),
        )
    except Interrupted as asked:
        tell(asked)
        return Exit.INTERRUPTED
    return Exit.OK


def _run_in_background(order: UpOrder, report: Report) -> int:
    try:
        run_cluster(
            order,
            environment=os.environ,
            say=report.say,
            when_claimed=lambda directory: log_to(directory.log("up")),
            when_ready=lambda ready: report.ready(summary(order, ready)),
        )
    except Interrupted as asked:
        report.failed(str(asked), Exit.INTERRUPTED)
        return Exit.INTERRUPTED
    except KhalaError as failure:
        report.failed(str(failure), code_of(failure))
        return code_of(failure)
    return Exit.OK


def _nothing_more(directory: DataDirectory) -> None:
    """In the foreground the terminal is the log."""
    del directory
