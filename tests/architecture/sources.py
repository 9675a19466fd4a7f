"""The modules of Khala as text; generated code is left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def modules() -> Iterator[tuple[str, Path]]:
    """(khala.bus.codec, its path) for each module that people write."""
    for path in sorted((ROOT / "khala").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[:3] == ("khala", "bus", "gen"):
            continue
        name = parts[:-1] if parts[-1] == "__init__" else parts
        yield ".".join(name), path
