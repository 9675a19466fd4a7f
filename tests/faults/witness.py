"""What tasks say of themselves: each appends lines to one file that every user may write to.

A process that runs twice, or beside another attempt, cannot hide here, whatever stores and journals say.
The file lies on a disk that no test fills. Lines are short, so an append is one write and never torn.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

BEGAN, BEAT, ENDED = "began", "beat", "ended"
BEAT_S = 0.2


@dataclass(frozen=True, slots=True)
class Run:
    """One process of one attempt. `ended` is its last sign of life, in Unix seconds."""

    task_id: str
    attempt: int
    began: float
    ended: float


class Witness:
    """The file, and the words that make a command write to it."""

    def __init__(self) -> None:
        # Not sticky: the kernel refuses O_CREAT on another's file in a sticky folder (fs.protected_regular).
        self.folder = Path(tempfile.mkdtemp(prefix="khala-witness-"))
        self.folder.chmod(0o755)
        self.path = self.folder / "said"
        self.path.touch()
        self.path.chmod(0o666)

    def close(self) -> None:
        """Delete it."""
        shutil.rmtree(self.folder)

    def command(self, body: str) -> str:
        """A shell command that says when it begins and when it ends."""
        say = f'say() {{ echo "$KHALA_TASK_ID $KHALA_ATTEMPT $$ $EPOCHREALTIME $1" >>{self.path}; }}'
        return f"{say}; say {BEGAN}; {body}; say {ENDED}"

    def lasting(self, seconds: float) -> str:
        """A body that takes about `seconds` and keeps saying that it is there."""
        return f"for _ in $(seq {max(1, round(seconds / BEAT_S))}); do sleep {BEAT_S}; say {BEAT}; done"

    def began(self, task_id: str) -> int:
        """How many times this task has begun so far."""
        return sum(
            line.startswith(task_id) and line.endswith(BEGAN) for line in self.path.read_text().splitlines()
        )

    def runs(self) -> list[Run]:
        """Every process that ever spoke, in the order of their beginnings."""
        began: dict[tuple[str, int, str], float] = {}
        last: dict[tuple[str, int, str], float] = {}
        for line in self.path.read_text().splitlines():
            task_id, attempt, pid, at, _ = line.split()
            key = (task_id, int(attempt), pid)
            began.setdefault(key, float(at))
            last[key] = float(at)
        return [Run(key[0], key[1], at, last[key]) for key, at in began.items()]
