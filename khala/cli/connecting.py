"""The options that every command which speaks to a cluster has, and the client that they make."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from khala.client import Client
from khala.local.finding import find_cluster

_PATIENCE_S = 10.0

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any])


def data_dir_option(command: AnyCommand) -> AnyCommand:
    """`--data-dir`, which names a local cluster."""
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="The local cluster's directory.  [default: $KHALA_DATA_DIR or ~/.local/share/khala]",
    )(command)


def json_option(command: AnyCommand) -> AnyCommand:
    """`--json`, which makes the output a JSON document."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def cluster_options(command: AnyCommand) -> AnyCommand:
    """`--data-dir` and `--json`."""
    return data_dir_option(json_option(command))


def connect(data_dir: Path | None, *, patience_s: float = _PATIENCE_S) -> Client:
    """A client of the cluster that `--data-dir`, $KHALA_URL or the default directory names."""
    address = find_cluster(os.environ, data_dir)
    return Client(address.url, address.token, patience_s=patience_s)
