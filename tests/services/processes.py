"""Ports and processes, as tests of native servers look at them."""

from __future__ import annotations

import random
from pathlib import Path

from khala.local.ports import HeldPorts, is_free

HELD = HeldPorts()
"""Until this process ends: no cluster and no other test takes a port before, or after, who asked for it."""


def free_ports(count: int) -> list[int]:
    """Ports on which a server may listen, outside the range of outgoing connections."""
    found: list[int] = []
    while len(found) < count:
        candidate = random.SystemRandom().randrange(10_000, 32_000)
        if HELD.take(candidate) and is_free(candidate):
            found.append(candidate)
    return found


def is_alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
