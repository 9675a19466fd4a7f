"""`khala judicator`, `executor`, `gateway`: one role in this process, with every flag of its settings.

The options come from the settings' own metadata (`khala.config.flags`), so no name is written twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from khala.cli.exits import note
from khala.cli.parent import end_with
from khala.config import ROLES, ExecutorConfig, Flag, GatewayConfig, JudicatorConfig, Kind, flags_of, resolve

_SUMMARY = {
    "judicator": "Run a judicator: it accepts, stores and schedules tasks.",
    "executor": "Run an executor: it runs tasks.",
    "gateway": "Run a gateway: it serves the HTTP API and the web site.",
}
_OPEN = (
    "this cluster is open: whoever reaches its ports may use it, as its administrator; to close it give "
    "every node the same secret, by KHALA_SECRET or --secret-file"
)
_EXAMPLE = {
    "judicator": "khala judicator --main-advertise-address=10.0.0.1 --secret-file=/etc/khala/secret",
    "executor": "khala executor --etcd-cluster-join-member-client=http://10.0.0.1:2001 --main-task-vacant=8",
    "gateway": "khala gateway --etcd-cluster-join-member-client=http://10.0.0.1:2001 --uwsgi-port=7000",
}


def _command(role: str) -> click.Command:
    options: list[click.Parameter] = [_option(flag) for flag in flags_of(ROLES[role])]
    options.append(
        click.Option(["--config"], type=click.Path(path_type=Path), help="A TOML file with settings.")
    )
    options.append(click.Option(["--end-with-fd"], type=int, hidden=True))
    text = (
        f"{_SUMMARY[role]}\n\n\b\n  {_EXAMPLE[role]}\n\n"
        "Each flag can be set as KHALA_… in the environment and in a TOML file as well; a flag wins over\n"
        "the environment, and that over the file. It runs until SIGTERM or Ctrl-C."
    )
    return click.Command(role, params=options, callback=_callback(role), help=text)


def _option(flag: Flag) -> click.Option:
    words = flag.help
    if flag.choices:
        words += f" One of {', '.join(flag.choices)}."
    if flag.default:
        words += f"  [default: {flag.default}]"
    many = flag.kind is Kind.PAIRS
    switch = flag.kind is Kind.SWITCH
    return click.Option(
        [flag.option],
        default=None,
        multiple=many,
        is_flag=False,
        flag_value="true" if switch else None,
        metavar="[true|false]" if switch else flag.kind.upper(),
        help=words,
        hidden=bool(flag.ignored),
    )


def _callback(role: str) -> Callable[..., int]:
    def run(config: Path | None, end_with_fd: int | None, **given: Any) -> int:
        if end_with_fd is not None:
            end_with(end_with_fd)
        options = {
            name: value if isinstance(value, tuple) else (value,)
            for name, value in given.items()
            if value is not None
        }
        resolved = resolve(role, options, os.environ, config)
        for warning in resolved.warnings:
            note(f"khala: warning: {warning}")
        if not resolved.config.secret:
            note(f"khala: warning: {_OPEN}")
        return _run(resolved.config)

    return run


def _run(config: object) -> int:
    """Build and run the role; only this role's composition root is imported."""
    match config:
        case JudicatorConfig(recover=True):
            from khala.node.recovering import run as run_recovery

            return run_recovery(config)
        case JudicatorConfig():
            from khala.node.judicator import run as run_judicator

            return run_judicator(config)
        case ExecutorConfig():
            from khala.node.executor import run as run_executor

            return run_executor(config)
        case GatewayConfig():
            from khala.node.gateway import run as run_gateway

            return run_gateway(config)
    raise TypeError(f"{type(config).__name__} is no role's settings")


judicator = _command("judicator")
executor = _command("executor")
gateway = _command("gateway")
