"""The `khala` command with leaders that can be stopped between two steps: `halting.py WORDS…`.

A judicator that comes to a point, and finds the file `halt-POINT` in its data directory, takes the file away
and stops its whole process there (SIGSTOP), until a test lets it go on. The points are `decided` (a batch
was decided and is not written), `written` (it is written, and nobody knows) and `sending` (an assignment is
saved and not yet sent). Nothing of this is in Khala itself.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from khala.actors.scheduler import Scheduler
from khala.cli import up
from khala.cli.main import main
from khala.core.messages import AssignTask
from khala.store.mongo.tasks import MongoTasks

DECIDED, WRITTEN, SENDING = POINTS = ("decided", "written", "sending")
COMMAND = (sys.executable, __file__)
DATA_DIR = "--data-dir="


def halt_file(data_dir: Path, point: str) -> Path:
    """Whoever makes it stops the judicator with that data directory when it comes to `point`."""
    return data_dir / f"halt-{point}"


def halting(words: Sequence[str]) -> Callable[[str], None]:
    """What a judicator that was started with these words does at each point."""
    own = Path(next(word for word in words if word.startswith(DATA_DIR)).removeprefix(DATA_DIR))

    def halt(point: str) -> None:
        try:
            halt_file(own, point).unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGSTOP)

    return halt


def install(halt: Callable[[str], None]) -> None:
    """Make this process halt at the points."""
    commit, send = MongoTasks.commit, Scheduler.send

    def halting_commit(self: MongoTasks, *batch: Any) -> Any:
        halt(DECIDED)
        answer = commit(self, *batch)
        halt(WRITTEN)
        return answer

    def halting_send(self: Scheduler, destination: str, message: object) -> bool:
        if isinstance(message, AssignTask):
            halt(SENDING)
        return send(self, destination, message)

    MongoTasks.commit = halting_commit  # type: ignore[method-assign]
    Scheduler.send = halting_send  # type: ignore[method-assign]


if __name__ == "__main__":
    if sys.argv[1] == "judicator":
        install(halting(sys.argv))
    up.ROLE_COMMAND = COMMAND  # type: ignore[assignment]
    up.run_cluster = partial(up.run_cluster, command=COMMAND)
    sys.exit(main(sys.argv[1:]))
