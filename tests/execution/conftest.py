"""A pool of real launchers for the tests, and a look at what it leaves behind."""

from __future__ import annotations

import os
import queue
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from wait import wait_until

from khala.core.task import Command, Limits, PhaseResult, TaskSpec
from khala.execution.job import Job, JobEnded, LauncherEvent
from khala.execution.pool import LauncherPool
from khala.execution.settings import ExecutionSettings, prepare_workspace_root

UID_BASE = 64100
SLOTS = 2


@dataclass
class Bench:
    """A pool and what it has told."""

    pool: LauncherPool
    root: Path
    events: queue.Queue[LauncherEvent]
    seen: list[LauncherEvent] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def start(self, spec: TaskSpec, *, slot: int = 0, files: dict[str, Path] | None = None) -> Job:
        job = Job(task_id=f"{next(self.numbers):024x}", attempt=1, spec=spec, files=files or {})
        self.pool.run(slot, job)
        return job

    def wait_for(self, kind: type, timeout_s: float = 20.0) -> LauncherEvent:
        while True:
            event = self.events.get(timeout=timeout_s)
            self.seen.append(event)
            if isinstance(event, kind):
                return event

    def end(self, timeout_s: float = 20.0) -> JobEnded:
        event = self.wait_for(JobEnded, timeout_s)
        assert isinstance(event, JobEnded)
        return event

    def run(self, spec: TaskSpec, *, slot: int = 0, files: dict[str, Path] | None = None) -> JobEnded:
        self.start(spec, slot=slot, files=files)
        return self.end()

    def shell(self, text: str, *, stdin: bytes = b"", wall_time_s: float | None = None) -> PhaseResult:
        """Run a script as the execute phase; its result."""
        return executed(self.run(script(text, stdin=stdin, wall_time_s=wall_time_s)))

    def text(self, shell: str) -> str:
        return self.shell(shell).stdout.head.decode()


def script(text: str, *, stdin: bytes = b"", wall_time_s: float | None = None) -> TaskSpec:
    return TaskSpec(execute=Command(shell=text, stdin=stdin, limits=Limits(wall_time_s=wall_time_s)))


def executed(end: JobEnded) -> PhaseResult:
    assert end.outcome.result is not None, end.outcome
    assert end.outcome.result.execute is not None, end.outcome
    return end.outcome.result.execute


def processes_marked(mark: str) -> list[int]:
    """The pids whose command line holds `mark`."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                line = (path / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in line:
                found.append(int(path.name))
    return found


def launcher_pids(root: Path) -> dict[int, int]:
    """pid by slot of the launchers that hold `root` open."""
    found = {}
    for path in Path("/proc").iterdir():
        try:
            name = (path / "comm").read_text().strip()
            if name.startswith("khala-slot-") and any(
                fd.readlink() == root for fd in (path / "fd").iterdir() if fd.is_symlink()
            ):
                found[int(name.removeprefix("khala-slot-"))] = int(path.name)
        except OSError:
            continue
    return found


def zygote_pids(root: Path) -> list[int]:
    """The zygotes that hold `root` open."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            if (path / "comm").read_text().strip() == "khala-zygote" and any(
                fd.readlink() == root for fd in (path / "fd").iterdir() if fd.is_symlink()
            ):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def settings_for(root: Path, **changes: object) -> ExecutionSettings:
    return ExecutionSettings(**{"slots": SLOTS, "workspace_root": root, "uid_base": UID_BASE, **changes})


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="khala-execution-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def new_root(folder: Path) -> Path:
    root = Path(tempfile.mkdtemp(prefix="root-", dir=folder))
    prepare_workspace_root(root, UID_BASE if os.geteuid() == 0 else None)
    return root


@pytest.fixture
def root(open_folder: Path) -> Path:
    return new_root(open_folder)


def opened(root: Path, **changes: object) -> Bench:
    events: queue.Queue[LauncherEvent] = queue.Queue()
    pool = LauncherPool(settings_for(root, **changes), events.put)
    pool.start()
    return Bench(pool=pool, root=root, events=events)


@pytest.fixture(scope="session")
def shared_bench(open_folder: Path) -> Iterator[Bench]:
    bench = opened(new_root(open_folder))
    yield bench
    bench.pool.close()
    assert launcher_pids(bench.root) == {}
    assert zygote_pids(bench.root) == []


@pytest.fixture
def bench(shared_bench: Bench) -> Iterator[Bench]:
    """The shared pool; after the test no workspace and no process of a task may be left."""
    yield shared_bench
    assert list(shared_bench.root.iterdir()) == []
    assert shared_bench.events.empty()
    shared_bench.seen.clear()
    launchers = launcher_pids(shared_bench.root).values()
    assert [Path(f"/proc/{pid}/task/{pid}/children").read_text() for pid in launchers] == ["", ""]


@pytest.fixture
def own_bench(root: Path) -> Iterator[Bench]:
    """A pool of the test's own, which it may damage."""
    bench = opened(root)
    yield bench
    bench.pool.close()
    wait_until(lambda: not launcher_pids(root) and not zygote_pids(root), what="no launcher is left")
    assert list(root.iterdir()) == []
