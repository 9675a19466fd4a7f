"""The executors' journals as evidence.

A journal forgets what is settled when it is rewritten; a hard link, made before that, keeps each of its
files whole. They are read by the code that the executor itself uses, from copies: it has them locked.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from history.records import EpochAnswered, Journalled, OutputProduced, Record

from khala.core.journal import Fact, JournalRecord
from khala.core.task import StreamCapture
from khala.execution.journal import Journal

LOOK_S = 0.5


class JournalKeeper:
    """Keeps every file that was the journal of an executor in `data_dirs` (name → its directory).

    `clocks` has, for an executor whose clock is wrong, what makes its times true.
    """

    def __init__(self, data_dirs: dict[str, Path]) -> None:
        self.data_dirs = data_dirs
        self.clocks: dict[str, Callable[[float], float]] = {}
        self._retired: list[Record] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep_steadily, name="journal-keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop keeping."""
        self._ended.set()
        self._thread.join()

    def records(self) -> list[Record]:
        """What all executors have on disk, each in its own order."""
        self._keep()
        return [*self._retired, *(record for name in list(self.data_dirs) for record in self._of(name))]

    def retire(self, name: str) -> None:
        """An executor has left for good, and its disk is about to go: remember what it has on it."""
        self._keep()
        self._retired += self._of(name)
        with self._lock:
            del self.data_dirs[name]

    def _keep_steadily(self) -> None:
        while not self._ended.wait(LOOK_S):
            self._keep()

    def _keep(self) -> None:
        with self._lock:
            for data_dir in list(self.data_dirs.values()):
                journal = data_dir / "journal"
                if journal.exists():
                    kept = data_dir / f"kept-{journal.stat().st_ino}"
                    if not kept.exists():
                        kept.hardlink_to(journal)

    def _of(self, executor: str) -> Iterator[Record]:
        at, seen = 0.0, set[tuple[str, str, int]]()
        for line in self._lines(self.data_dirs[executor]):
            at = max(at, self.clocks.get(executor, float)(line.at))
            key = (line.fact, line.task_id, line.attempt)
            if line.fact in (Fact.START, Fact.END):
                if key in seen:
                    continue  # a rewritten journal begins with what the one before it had
                seen.add(key)
            if line.fact == Fact.EPOCH:
                yield EpochAnswered(at, executor, line.epoch)
            else:
                yield Journalled(at, executor, line)
            if line.fact == Fact.END:
                yield from _produced(at, line)

    @staticmethod
    def _lines(data_dir: Path) -> Iterator[JournalRecord]:
        files = sorted(data_dir.glob("kept-*"), key=lambda path: path.stat().st_mtime_ns)
        with tempfile.TemporaryDirectory(prefix="khala-journal-") as folder:
            for file in files:
                copy = Path(folder) / file.name
                shutil.copyfile(file, copy)
                journal = Journal(copy)
                try:
                    yield from journal.load()
                finally:
                    journal.close()


def _produced(at: float, end: JournalRecord) -> Iterator[Record]:
    result = end.outcome.result if end.outcome is not None else None
    for name, phase in (("compile", result.compile), ("execute", result.execute)) if result else ():
        if phase is not None:
            for stream, capture in (("stdout", phase.stdout), ("stderr", phase.stderr)):
                yield _output(at, end, f"{name}.{stream}", capture)


def _output(at: float, end: JournalRecord, stream: str, capture: StreamCapture) -> OutputProduced:
    digest = hashlib.sha256(capture.head + capture.tail).hexdigest()
    return OutputProduced(at, end.task_id, end.attempt, stream, capture.size, digest)
