"""`khala map --joblog`: one line for each finished task, in GNU parallel's format, and what is left to do."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from khala.client import TaskView
from khala.errors import ConfigurationError

_HEADER = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"


class Joblog:
    """Writes each line at once, so that a killed `khala map` can be resumed."""

    def __init__(self, path: Path, *, resume: bool, retry_failed: bool) -> None:
        self.done: frozenset[int] = frozenset()
        try:
            if resume and path.exists():
                self.done = _done(path, retry_failed=retry_failed)
            kept = resume and path.exists() and path.stat().st_size > 0
            self._file: IO[str] = path.open("a" if kept else "w", buffering=1, errors="surrogateescape")
            if not kept:
                self._file.write(_HEADER)
            elif not path.read_bytes().endswith(b"\n"):
                self._file.write("\n")
        except OSError as failure:
            raise ConfigurationError(f"--joblog: cannot use {path}: {failure.strerror}") from failure

    def write(self, number: int, command: str, task: TaskView | None, code: int) -> None:
        """A task is finished; None: it was refused."""
        began = task.started_at if task is not None else None
        ended = task.finished_at if task is not None else None
        runtime_s = (ended - began).total_seconds() if began and ended else 0.0
        last = (task.execute or task.compile) if task is not None else None
        sizes = (0, last.stdout.size if last is not None else 0)
        signal = (last.signal if last is not None else None) or 0
        host = task.executor if task is not None and task.executor else "-"
        shown = command.replace("\n", " ")
        self._file.write(
            f"{number}\t{host}\t{began.timestamp() if began else 0:.3f}\t{runtime_s:10.3f}"
            f"\t{sizes[0]}\t{sizes[1]}\t{0 if signal else code}\t{signal}\t{shown}\n"
        )

    def close(self) -> None:
        """No more is written."""
        self._file.close()


def _done(path: Path, *, retry_failed: bool) -> frozenset[int]:
    """The numbers that need not run again; of several lines about one, the last counts."""
    good: dict[int, bool] = {}
    for line in path.read_text(errors="surrogateescape").splitlines()[1:]:
        fields = line.split("\t")
        # The last line of a killed run may be cut off: its task runs again.
        if len(fields) < 9 or not fields[0].isdigit():
            continue
        good[int(fields[0])] = fields[6] == "0" and fields[7] == "0"
    return frozenset(number for number, well in good.items() if well or not retry_failed)
