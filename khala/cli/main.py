"""Entry of the `khala` command: picks the subcommand, and turns every error into a line and a code.

Quick to load on purpose: it knows its subcommands by name only.
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

_COMMANDS: Mapping[str, str] = {
    "run": "khala.cli.run:run",
    "map": "khala.cli.map:map",
    "submit": "khala.cli.submit:submit",
    "show": "khala.cli.tasks:show",
    "ls": "khala.cli.tasks:ls",
    "logs": "khala.cli.logs:logs",
    "get": "khala.cli.get:get",
    "explain": "khala.cli.explain:explain",
    "wait": "khala.cli.wait:wait",
    "job": "khala.cli.job:job",
    "cancel": "khala.cli.tasks:cancel",
    "retry": "khala.cli.tasks:retry",
    "executors": "khala.cli.members:executors",
    "drain": "khala.cli.draining:drain",
    "undrain": "khala.cli.draining:undrain",
    "judicators": "khala.cli.members:judicators",
    "cluster": "khala.cli.members:cluster",
    "token": "khala.cli.token:token",
    "up": "khala.cli.up:up",
    "down": "khala.cli.down:down",
    "status": "khala.cli.status:status",
    "demo": "khala.cli.demo:demo",
    "completion": "khala.cli.completion:completion",
    "doctor": "khala.cli.doctor:doctor",
    "backup": "khala.cli.backup:backup",
    "restore": "khala.cli.restore:restore",
    "judicator": "khala.cli.roles:judicator",
    "executor": "khala.cli.roles:executor",
    "gateway": "khala.cli.roles:gateway",
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
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


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
