"""A pool of real launchers for the tests, and a look at what it leaves behind."""

from __future__ import annotations

import os
import queue
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from uids import first_test_uid

from khala.core.task import Command, Limits, PhaseResult, TaskSpec
from khala.execution.job import Job, JobEnded, LauncherEvent
from khala.execution.pool import LauncherPool
from khala.execution.settings import ExecutionSettings, prepare_workspace_root

SLOTS = 2
MAKERS = {
    "shared memory": "libc.shmget(77, 4096, 0o1600)",
    "a semaphore": "libc.semget(77, 1, 0o1600)",
    "a queue": "libc.msgget(77, 0o1600)",
    "a POSIX queue": "rt.mq_open(b'/left', 0o102, 0o600, None)",
}
FIND = "print(libc.shmget(77, 0, 0), libc.semget(77, 0, 0), libc.msgget(77, 0), rt.mq_open(b'/left', 0))"
"""Scripts for `python`: those that make an object of IPC, and one that looks for all of them."""


@dataclass
class Bench:
    """A pool and what it has told."""

    pool: LauncherPool
    root: Path
    events: queue.Queue[LauncherEvent]
    seen: list[LauncherEvent] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    ended: dict[str, JobEnded] = field(default_factory=dict)

    def start(self, spec: TaskSpec, *, slot: int = 0, files: dict[str, Path] | None = None) -> Job:
        job = Job(task_id=f"{next(self.numbers):024x}", attempt=1, spec=spec, files=files or {})
        self.pool.run(slot, job)
        return job

    def workspace_of(self, job: Job, slot: int = 0) -> Path:
        return self.root / f"{slot}-{job.task_id}-{job.attempt}"

    def launcher_rss_bytes(self, slot: int) -> int:
        status = Path(f"/proc/{launcher_pids(self.root)[slot]}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def wait_for(self, kind: type, timeout_s: float = 60.0) -> LauncherEvent:
        while True:
            event = self.events.get(timeout=timeout_s)
            self.seen.append(event)
            if isinstance(event, kind):
                return event

    def end(self, timeout_s: float = 60.0) -> JobEnded:
        event = self.wait_for(JobEnded, timeout_s)
        assert isinstance(event, JobEnded)
        return event

    def end_of(self, job: Job, timeout_s: float = 60.0) -> JobEnded:
        """The end of `job`, whichever other job ends before it."""
        while job.task_id not in self.ended:
            end = self.end(timeout_s)
            self.ended[end.task_id] = end
        return self.ended.pop(job.task_id)

    def run(self, spec: TaskSpec, *, slot: int = 0, files: dict[str, Path] | None = None) -> JobEnded:
        return self.end_of(self.start(spec, slot=slot, files=files))

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
    plain = {"slots": SLOTS, "workspace_root": root, "uid_base": first_test_uid(), "default_limits": Limits()}
    return ExecutionSettings(**{**plain, **changes})


def new_root(folder: Path) -> Path:
    root = Path(tempfile.mkdtemp(prefix="root-", dir=folder))
    prepare_workspace_root(root, first_test_uid() if os.geteuid() == 0 else None)
    return root


def opened(root: Path, **changes: object) -> Bench:
    events: queue.Queue[LauncherEvent] = queue.Queue()
    pool = LauncherPool(settings_for(root, **changes), events.put)
    pool.start()
    return Bench(pool=pool, root=root, events=events)


def mark() -> str:
    return f"khala-mark-{uuid.uuid4().hex}"


def leave_behind(name: str) -> str:
    """A script that leaves, under `name`, a background child, a child in its own session, and a daemon
    that forked twice; all ignore SIGTERM and hold stdout. Goes on when all are up."""
    return (
        "printf 'trap \"\" TERM\necho >> up\nwhile :; do sleep 300; done\n' > left.sh; : > up; "
        f"bash left.sh {name} & setsid bash left.sh {name} & (setsid bash -c '(bash left.sh {name} &)' &) ; "
        "until [ $(wc -l < up) -ge 3 ]; do sleep 0.01; done; "
    )


def python(code: str) -> str:
    """A command that runs `code`, with the C library as `libc` and `rt`."""
    loaded = "import ctypes; libc = ctypes.CDLL(None); rt = ctypes.CDLL('librt.so.1')"
    return f'python3 -I -c "{loaded}; {code}"'
