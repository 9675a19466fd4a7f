"""README's Docker section as commands: what is in its fenced blocks, as it stands."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADING = "## With Docker"


def docker_blocks() -> list[str]:
    """The section's shell blocks, in their order."""
    text = (ROOT / "README.md").read_text()
    section = text.split(f"{HEADING}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
