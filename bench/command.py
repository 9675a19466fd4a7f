"""What the commands of all scenarios have in common: how they are asked, and how they tell their figures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def words_of(about: str | None) -> argparse.ArgumentParser:
    """The words of a scenario with this docstring; it adds its own."""
    words = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    words.add_argument("--json", type=Path, help="also write the figures to this file")
    return words


def tell(found: Mapping[str, Any], file: Path | None) -> None:
    """Print the figures, and write them where `--json` says."""
    print(json.dumps(found, indent=1))
    if file:
        file.write_text(json.dumps(found, indent=1) + "\n")
