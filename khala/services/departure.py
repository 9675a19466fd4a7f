"""Whether a judicator has left its cluster, as its data directory tells whoever would start it again."""

from __future__ import annotations

import json
from pathlib import Path

KNOWN = "judicators.json"
"""What a judicator remembers of its cluster, in its data directory."""


def has_left(data_dir: Path) -> bool:
    """Did it leave, or was it removed? One that was only told to stop, or cannot say, is still a member."""
    try:
        return bool(json.loads((data_dir / KNOWN).read_text())["left"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
