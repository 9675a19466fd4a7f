"""Entry of the `khala` command: picks the subcommand, and turns every error into a line and a code.

Quick to load on purpose: it knows its subcommands by name, and by what `khala --help` says of them.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence

import click

from khala import __version__
from khala.cli.exits import Exit, code_of, tell
from khala.errors import KhalaError

_COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("khala.cli.run:run", "Run a command on the cluster, print its output as it comes,..."),
    "map": ("khala.cli.map:map", "Run a shell command for each value, and print the output in..."),
    "submit": ("khala.cli.submit:submit", "Create a task and print its id."),
    "show": ("khala.cli.tasks:show", "Show one task: its standing, its times, its output."),
    "ls": ("khala.cli.tasks:ls", "List tasks, newest first."),
    "logs": ("khala.cli.logs:logs", "Print a task's output: standard output to standard output,..."),
    "get": ("khala.cli.get:get", "Save a task's output files: all of them, or those at PATHS."),
    "explain": ("khala.cli.explain:explain", "Say why a task waits, or what ended it and what it used of..."),
    "wait": ("khala.cli.wait:wait", "Wait until tasks are finished, and say of each how it..."),
    "job": ("khala.cli.job:job", "Jobs: up to 100,000 tasks of one template, made by the..."),
    "cancel": ("khala.cli.tasks:cancel", "Stop tasks, with all their processes."),
    "retry": ("khala.cli.tasks:retry", "Run finished tasks again, as new tasks; prints their ids."),
    "executors": ("khala.cli.members:executors", "List the executors: slots, load, running tasks."),
    "drain": ("khala.cli.draining:drain", "Let executors take no more tasks; what runs there goes on,..."),
    "undrain": ("khala.cli.draining:undrain", "Let executors take tasks again."),
    "judicators": ("khala.cli.members:judicators", "List the judicators and say which one leads."),
    "cluster": ("khala.cli.members:cluster", "Say how the cluster is: who leads, what it can lose, what..."),
    "token": ("khala.cli.token:token", "Tokens: what a person or a program shows to use the cluster."),
    "up": ("khala.cli.up:up", "Run a whole cluster on this machine."),
    "down": ("khala.cli.down:down", "End the cluster that `khala up` runs; its data stay."),
    "status": ("khala.cli.status:status", "Show the cluster that `khala up` runs on this machine."),
    "demo": ("khala.cli.demo:demo", "Bring a cluster up, compile and run a C++ program on it,..."),
    "completion": (
        "khala.cli.completion:completion",
        "Print what a shell needs to complete `khala` and its options.",
    ),
    "doctor": ("khala.cli.doctor:doctor", "Say what this host has for a local cluster, and how to get..."),
    "backup": ("khala.cli.backup:backup", "Write all that a cluster has into FILE, while it runs."),
    "restore": ("khala.cli.restore:restore", "Make a new cluster out of a backup."),
    "judicator": ("khala.cli.roles:judicator", "Run a judicator: it accepts, stores and schedules tasks."),
    "executor": ("khala.cli.roles:executor", "Run an executor: it runs tasks."),
    "gateway": ("khala.cli.roles:gateway", "Run a gateway: it serves the HTTP API and the web site."),
}

_HELP = """Run command-line tasks in parallel on a cluster of computers.

\b
  khala up --detach              a whole cluster on this machine
  khala run -- echo hello        run a command on it
  khala down                     end it

Exit codes: 0 done, 1 error, 2 wrong usage or settings, 3 no cluster reachable,
4 refused by the cluster, 130 interrupted. `khala run` exits as its task did,
`khala map` with the number of tasks that failed; both with 125 if Khala failed.
KHALA_DEBUG=1 shows the traceback of an error."""


class _Commands(click.Group):
    """Loads a subcommand's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All subcommands, in the order of their usefulness."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand, or None if there is no such one."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `khala --help`, without loading any of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, brief) for name, (_, brief) in _COMMANDS.items()])


@click.command(cls=_Commands, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="khala", message="%(prog)s %(version)s")
def khala() -> None:
    """The group; its help is `_HELP`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code. Never raises but for SystemExit from inside a command."""
    # httpx pulls in its own command line (rich, pygments: 70 ms) unless it finds that this is missing.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = khala.main(args=words, prog_name="khala", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as wrong:
        wrong.show()
        return Exit.USAGE
    except click.ClickException as failure:
        tell(failure)
        return Exit.ERROR
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output is gone; Python would complain again while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except KhalaError as failure:
        tell(failure)
        return code_of(failure)
    except Exception as bug:  # noqa: BLE001 - the last resort: a user is never shown a bare traceback
        tell(bug, "this is a bug in Khala: KHALA_DEBUG=1 shows where; please report it")
        return Exit.ERROR
    return code if isinstance(code, int) else Exit.OK


if __name__ == "__main__":
    sys.exit(main())
