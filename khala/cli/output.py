"""What commands print: JSON, tables, times. Loads rich only for a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

_WIDE = 240
_COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "running": "cyan",
    "leads": "green",
    "down": "red",
    "draining": "yellow",
    "missing": "red",
}


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def print_json_line(value: Any) -> None:
    """One JSON document on a line of stdout, at once."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns, coloured on a terminal; into a pipe they are not cut to a terminal's width."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(str(cell), _COLOURS.get(str(cell), "")) for cell in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE).print(table)


def moment(time: datetime | None) -> str:
    """A time in this machine's zone, or a dash."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else "-"


def since(time: float) -> str:
    """How long ago a Unix time was, roughly."""
    seconds = max(0.0, datetime.now(UTC).timestamp() - time)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
