"""Plain commands in a row in one call of brief.c, each from its workspace to the frame that tells its end:
those that need no file, no box and no standard input, and succeed within a moment, write little and leave
nothing behind.

The launcher's thread. Whatever turns out otherwise goes on in `Attempt` from where it has come to: this is a
shorter way to the same report, never to another one.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from ctypes import Structure, byref, c_char_p, c_int, c_long, sizeof
from enum import IntEnum
from itertools import takewhile
from typing import Any, NamedTuple

from .begun import Begun, Running
from .children import Reaper
from .command import BadCommand, arguments, places_of, task_environment
from .framing import Header
from .guard import Disk, Guard
from .limits import PhaseLimits
from .program import Program, Stdio
from .ready import MadeReady
from .rlimits import Rlimit
from .run import GIVES_BACK_AFTER_S, MOMENT_S
from .slot import Slot
from .traces import SHARED
from .vforking import MOST_TAKEN_BYTES, Vfork, Waited, has_execed, packed
from .workspace import workspace_name

# As in brief.c.
ROW, FIGURES, LISTS_OF_IPC = 16, 5, 3
MOST_ENFORCED_CHARS = 2048
NOWHERE = Stdio(-1, -1, -1)


class _Row(Structure):
    """struct row of brief.c."""

    _fields_ = (
        ("count", c_int), ("has_more", c_int),
        ("starts", c_char_p * ROW), ("texts", c_char_p * ROW),
        ("ids", c_char_p * ROW), ("names", c_char_p * ROW), ("attempts", c_long * ROW),
        ("enforced", c_char_p),
        ("most_ns", c_long), ("most_waited_for_ns", c_long), ("most_cpu_us", c_long),
        ("control", c_int), ("root", c_int), ("null", c_int), ("reserve_bytes", c_long),
        ("shared", c_char_p * len(SHARED)), ("changed_ns", c_long * len(SHARED)),
        ("lists", c_int * LISTS_OF_IPC), ("queues", c_int), ("queues_bytes", c_long), ("queues_ns", c_long),
        ("files", c_int * FIGURES), ("cpu", c_int), ("most_processes", c_long), ("most_left_bytes", c_long),
        ("done", c_int), ("stage", c_int),
        ("began_at_ns", c_long), ("began_ns", c_long), ("ended_ns", c_long), ("figures", c_long * FIGURES),
    )  # fmt: skip


class _Stage(IntEnum):
    """Of brief.c."""

    NOT_BEGUN = 0
    ASKED = 1
    PLACED = 2
    BEGUN = 3


class _Bounds(NamedTuple):
    """What follows from limits and isolation, for all jobs that have the same."""

    limits: PhaseLimits
    guard: Guard
    rlimits: tuple[Rlimit, ...]
    enforced: bytes
    most_s: float
    most_bytes: int


class Brief:
    """One launcher's. `run` before each job."""

    def __init__(self, slot: Slot, vfork: Vfork) -> None:
        self._slot = slot
        self._vfork = vfork
        self._row = _Row(
            control=slot.control.fileno(),
            root=slot.root_fd,
            null=os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC),
            reserve_bytes=slot.reserve_bytes,
        )
        if slot.traces is not None:
            self._row.shared[:] = [os.fsencode(path) for path in SHARED]
        self._asked: tuple[dict[str, Any], str] = ({}, "")
        self._bounds: _Bounds | None = None

    @classmethod
    def here(cls, slot: Slot) -> Brief | None:
        """None where the library is not used, or workspaces are not made ahead."""
        vfork = slot.vfork
        if vfork is None or slot.ended is None or not vfork.has("khala_row_bytes", sizeof(_Row)):
            return None
        return cls(slot, vfork)

    def run(self) -> tuple[int, Begun | None]:
        """Wait for jobs, and run the plain ones at their head. How many have ended, and are told and dropped;
        and what was begun of the next one, which stays. Raises ExecutorGone, and nothing runs then."""
        ended = 0
        while True:
            done, stage, begun = self._run_some()
            ended += done
            if stage != _Stage.ASKED:
                return ended, begun
            self._slot.control.receive()

    def _run_some(self) -> tuple[int, int, Begun | None]:
        slot, row, made = self._slot, self._row, self._slot.ready.made
        jobs = slot.control.first_jobs(ROW)
        bounds = self._bounds_of(jobs[0][0])
        if made is None or bounds is None:
            return 0, _Stage.NOT_BEGUN, None
        plain = takewhile(lambda job: self._is_plain(*job) and self._bounds_of(job[0]) is bounds, jobs)
        row.count = self._add_all([job for job, _ in plain], bounds)
        if not row.count:
            return 0, _Stage.NOT_BEGUN, None
        row.has_more = slot.control.job_count > row.count
        self._fill(bounds)
        waited = Waited(slot.watch.fileno(), slot.control.fileno(), 0.0)
        self._vfork.expect(0, (-1, -1), waited, most_bytes=bounds.most_bytes)
        self._vfork.functions.khala_row(byref(row), byref(made), self._vfork.watched)
        slot.control.drop_jobs(row.done)
        return row.done, row.stage, self._came_of(bounds, made)

    def _is_plain(self, job: Header, blobs: list[bytes]) -> bool:
        command = job["execute"]
        return not (
            command is None
            or job["compile"] is not None
            or job["inputs"]
            or job["archives"]
            or job["outputs"]
            or job["deadline_s"] is not None
            or "stdin_file" in command
            or blobs[command["stdin"]]
            or self._slot.control.abort_of(job["task_id"], job["attempt"]) is not None
        )

    def _bounds_of(self, job: Header) -> _Bounds | None:
        """None if they need more than a control group and a look at the end."""
        if job["execute"] is None:
            return None
        asked = (job["execute"]["limits"], job["isolation"])
        if asked != self._asked:
            self._asked, self._bounds = asked, self._read_bounds(*asked)
        return self._bounds

    def _read_bounds(self, asked: dict[str, Any], isolation: str) -> _Bounds | None:
        slot, limits = self._slot, PhaseLimits.read(asked)
        group = None if isolation == "none" else slot.group
        own_mount = slot.owner is not None and slot.own_mounts and 0 < limits.disk_bytes <= slot.tmpfs_bytes
        if isolation == "strict" or own_mount or (group is not None and not group.runs_rows):
            return None
        guard = Guard(slot, limits, Disk(-1, 0), group=group)
        enforced = json.dumps([*slot.enforced, *guard.enforced]).encode()
        if len(enforced) > MOST_ENFORCED_CHARS:
            return None
        return _Bounds(
            limits=limits,
            guard=guard,
            rlimits=guard.rlimits,
            enforced=enforced,
            most_s=min(MOMENT_S, limits.wall_time_s or MOMENT_S, limits.cpu_time_s / slot.cpus or MOMENT_S),
            most_bytes=min(slot.head_bytes + slot.tail_bytes, limits.output_bytes or MOST_TAKEN_BYTES),
        )

    def _add_all(self, jobs: Sequence[Header], bounds: _Bounds) -> int:
        """Put jobs into the row, up to one that cannot even be tried; how many."""
        count = 0
        with contextlib.suppress(BadCommand, UnicodeError, OSError):
            if jobs:
                bounds.guard.open()
            for job in jobs:
                self._add(count, job, bounds)
                count += 1
        return count

    def _add(self, place: int, job: Header, bounds: _Bounds) -> None:
        slot, row, command, task_id = self._slot, self._row, job["execute"], job["task_id"]
        name = workspace_name(slot.number, task_id, job["attempt"])
        argv = arguments(command)
        env = task_environment(slot, f"{slot.root}/{name}", command["env"], task_id, job["attempt"])
        program = Program(
            limits=bounds.rlimits,
            priority=slot.task_priority,
            owner=slot.owner,
            folder_fd=-1,
            name=argv[0],
            places=places_of(argv[0], env),
            argv=argv,
            env=env,
        )
        row.starts[place], row.texts[place] = packed(program, NOWHERE, bounds.guard.entrances)
        row.ids[place], row.names[place] = task_id.encode(), name.encode()
        row.attempts[place] = job["attempt"]

    def _fill(self, bounds: _Bounds) -> None:
        """What the jobs of the row share, as it is now."""
        slot, row, group = self._slot, self._row, bounds.guard.group
        row.enforced = bounds.enforced
        row.most_ns = int(bounds.most_s * 1e9)
        row.most_waited_for_ns = int(min(bounds.most_s, GIVES_BACK_AFTER_S) * 1e9)
        row.most_cpu_us = int(bounds.limits.cpu_time_s * 1e6)
        if slot.traces is not None:
            row.changed_ns[:] = slot.traces.changed_ns
        row.queues = -1
        if slot.ipc is not None and (watched := slot.ipc.watched) is not None:
            row.lists[:], row.queues, (row.queues_bytes, row.queues_ns) = watched
        files = None if group is None else group.row
        row.files[:], row.cpu = ([-1] * FIGURES, -1) if files is None else (files.figures, files.cpu)
        if files is not None:
            row.most_processes, row.most_left_bytes = files.most_processes, files.most_left_bytes

    def _came_of(self, bounds: _Bounds, made: MadeReady) -> Begun | None:
        slot, row, group = self._slot, self._row, bounds.guard.group
        unused = row.stage < _Stage.PLACED and made.workspace >= 0
        slot.ready.keep(workspace=unused, pipes=unused or row.stage == _Stage.PLACED)
        if row.stage < _Stage.PLACED:
            if group is not None and row.done:
                # All of them have been told: what goes wrong here the next one finds.
                with contextlib.suppress(OSError):
                    group.take(row.figures)
                    group.close()
            return None
        if row.stage == _Stage.PLACED:
            return Begun(made.workspace, None)
        reads = (made.pipes[0], made.pipes[2])
        pid, seen = self._vfork.pid, self._vfork.seen()
        if not row.ended_ns and not has_execed(pid):
            os.waitpid(pid, 0)
            for fd in reads:
                os.close(fd)
            return Begun(made.workspace, None)
        use = Reaper(pid)
        use.note(seen.status, seen.user_s, seen.system_s, seen.rss_kib)
        running = Running(
            use=use,
            reads=reads,
            gave=(seen.given[0][0], seen.given[1][0]),
            at_end=(seen.given[0][1], seen.given[1][1]),
            started_at=row.began_at_ns / 1e9,
            started_s=row.began_ns / 1e9,
        )
        return Begun(made.workspace, running)
