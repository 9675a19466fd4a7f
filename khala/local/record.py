"""What `khala up` writes down about its cluster (`cluster.json`), and what everybody else reads there.

Only the supervisor that holds the data directory's lock writes it; readers see whole versions. It
holds the administrator's token, so only its owner may read it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from khala.errors import ConfigurationError
from khala.local.identity import ProcessIdentity

FILE_NAME = "cluster.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One role process; `started_at` is Unix seconds, `last_exit` how it ended last time, in words."""

    name: str
    role: str
    identity: ProcessIdentity | None = None
    started_at: float = 0.0
    restarts: int = 0
    last_exit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRecord:
    """One cluster. `state` is starting, ready, stopping or stopped; `ports` outlive a stop. `founders` is
    how many of its `judicators` it began with; `slots` is 0 unless somebody chose them."""

    state: str = "stopped"
    gateway: str = ""
    token: str = ""
    version: str = ""
    started_at: float = 0.0
    judicators: int = 0
    founders: int = 0
    executors: int = 0
    gateways: int = 0
    slots: int = 0
    supervisor: ProcessIdentity | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    processes: tuple[ProcessRecord, ...] = ()

    @property
    def running(self) -> bool:
        """Is there a supervisor that looks after it?"""
        return self.supervisor is not None and self.supervisor.alive()


def read_record(data_dir: Path) -> ClusterRecord | None:
    """The record in `data_dir`, or None if there never was one; ConfigurationError if it is damaged."""
    path = data_dir / FILE_NAME
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except PermissionError as failure:
        raise ConfigurationError(
            f"{path} belongs to another user: run as that user, or set KHALA_URL"
        ) from failure
    except (OSError, ValueError) as failure:
        raise ConfigurationError(f"cannot read {path}: {failure}") from failure
    try:
        processes = tuple(
            ProcessRecord(**{**entry, "identity": _identity(entry["identity"])})
            for entry in content.pop("processes")
        )
        supervisor = _identity(content.pop("supervisor"))
        content["ports"] = {str(name): int(port) for name, port in content["ports"].items()}
        return ClusterRecord(**content, supervisor=supervisor, processes=processes)
    except (TypeError, KeyError, AttributeError, ValueError) as failure:
        raise ConfigurationError(
            f"{path} was written by another version of Khala, or is damaged"
        ) from failure


def write_record(data_dir: Path, record: ClusterRecord) -> None:
    """Replace the record in one step; readable by its owner only."""
    write_private(data_dir / FILE_NAME, json.dumps(dataclasses.asdict(record), indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 in one step; when that fails (OSError), nothing is left of it."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def _identity(entry: Mapping[str, object] | None) -> ProcessIdentity | None:
    return (
        None if entry is None else ProcessIdentity(pid=int(str(entry["pid"])), started=str(entry["started"]))
    )
