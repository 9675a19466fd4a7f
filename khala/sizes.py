"""Sizes in the unit in which people give them. Pure, and quick to load."""

from __future__ import annotations

MIB = 1 << 20


def shown_size(size_bytes: int) -> str:
    """`512 MiB`, `1.5 MiB`; below one MiB, where that would say little, `1000 bytes`."""
    return f"{round(size_bytes / MIB, 3):.15g} MiB" if size_bytes >= MIB else f"{size_bytes} bytes"
