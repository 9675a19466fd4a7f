"""One phase of an attempt: its command, in its place, under its guard, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from .begun import Running
from .box import BOX_PROCESSES, Box, box_started
from .command import arguments, open_stdin, places_of, task_environment
from .framing import Header
from .guard import Disk, Guard
from .judging import exit_status, judge
from .limits import PhaseLimits
from .program import Program, Stdio
from .run import Run
from .slot import Slot
from .spool import Spool, folder_name
from .starting import start


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the phases of an attempt share: its names, its workspace, its demanded level."""

    slot: Slot
    task_id: str
    attempt: int
    path: str
    disk: Disk
    isolation: str
    network: bool

    @property
    def box(self) -> Box | None:
        """The box to run in, if the level wants one."""
        return self.slot.box if self.isolation == "strict" else None


class PhaseRun:
    """Run it once. `exit_reason` and `reason` say how it went; an empty reason is success."""

    def __init__(self, ground: Ground, phase: str, command: dict[str, Any], limits: PhaseLimits) -> None:
        self._ground = ground
        self._phase = phase
        self._command = command
        boxed = ground.box is not None
        self.guard = Guard(
            ground.slot,
            limits,
            ground.disk,
            group=None if ground.isolation == "none" else ground.slot.group,
            extra_processes=BOX_PROCESSES if boxed else 0,
        )
        self._spool = self._make_spool()
        self.run = Run(
            ground.slot, ground.task_id, ground.attempt, self.guard, boxed=boxed, spool=self._spool
        )
        self.exit_reason = self.reason = ""
        self._status: int | None = None

    def execute(
        self, blobs: list[bytes], started: Callable[[], None], running: Running | None = None
    ) -> None:
        """Run the command to its end, or go on with what is `running`; `started` is called when it runs.

        BadCommand if it cannot even be tried, ExecutorGone when the executor is.
        """
        if running is not None:
            self.run.adopt(running)
            self._finish(started)
            self._judge(-1)
            return
        with ExitStack() as held:
            program, status_fd = self._program(), -1
            if (box := self._ground.box) is not None:
                status_fd, told_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                held.callback(os.close, status_fd)
                held.callback(os.close, told_fd)
                program = self._boxed(program, box, told_fd, held)
            self._run(program, blobs, started)
            self._judge(status_fd)

    def _run(self, program: Program, blobs: list[bytes], started: Callable[[], None]) -> None:
        stdin_fd = open_stdin(self._command, blobs)
        try:
            self.run.start(partial(self._start, program), stdin_fd=stdin_fd)
            self._finish(started)
        finally:
            os.close(stdin_fd)

    def _finish(self, started: Callable[[], None]) -> None:
        try:
            started()
        finally:
            self.run.finish()

    def _start(self, program: Program, stdio: Stdio) -> int:
        # Only now: the groups' descriptors are others each time that they are made.
        return start(self._ground.slot, program, stdio, self.guard.entrances)

    @property
    def header(self) -> Header:
        """The phase's part of the frame of the end, but for the streams."""
        run, guard = self.run, self.guard
        code = self._status
        return {
            "exit_reason": self.exit_reason,
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
            "started_at": run.started_at,
            "wall_time_s": run.wall_time_s,
            "cpu_user_s": run.use.cpu_user_s,
            "cpu_system_s": run.use.cpu_system_s,
            "max_rss_bytes": run.use.max_rss_bytes,
            "max_memory_bytes": guard.use.memory_bytes,
            "max_processes": guard.processes,
            "disk_bytes": guard.disk_use.size_bytes,
        }

    def _make_spool(self) -> Spool:
        slot, ground = self._ground.slot, self._ground
        cap_bytes = min(self.guard.limits.output_bytes or slot.stored_bytes, slot.stored_bytes)
        return Spool(
            slot.spool_root,
            folder_name(ground.task_id, ground.attempt),
            self._phase,
            cap_bytes=cap_bytes,
            reserve_bytes=slot.reserve_bytes,
            told=self._tell_spooled,
        )

    def _tell_spooled(self) -> bool:
        """Tell the executor how far the spool is; it is no matter if that cannot be said just now."""
        ground = self._ground
        spooled = {"spooled": self._phase, "task_id": ground.task_id, "attempt": ground.attempt}
        return ground.slot.control.try_send({**spooled, **self._spool.written})

    def _program(self) -> Program:
        ground, slot, guard = self._ground, self._ground.slot, self.guard
        argv = arguments(self._command)
        env = task_environment(slot, ground.path, self._command["env"], ground.task_id, ground.attempt)
        return Program(
            limits=guard.rlimits,
            priority=slot.task_priority,
            owner=slot.owner,
            folder_fd=ground.disk.fd,
            name=argv[0],
            places=places_of(argv[0], env),
            argv=argv,
            env=env,
        )

    def _boxed(self, program: Program, box: Box, told_fd: int, held: ExitStack) -> Program:
        ground = self._ground
        options = box.arguments(
            ground.path, program.env, network=ground.network, tmp_bytes=self.guard.limits.disk_bytes
        )
        return box.around(program, options, told_fd, held)

    def _judge(self, status_fd: int) -> None:
        boxed = self._ground.box is not None
        self._status = exit_status(self.run, boxed=boxed)
        self.exit_reason, self.reason = judge(self._phase, self.run, self.guard, self._status)
        by_itself = self.exit_reason == "exited" and self._status == 1
        if boxed and by_itself and not box_started(status_fd):
            said = self.run.stderr.head.decode(errors="replace").strip()
            self.exit_reason, self.reason = "internal_error", f"the box could not be set up: {said}"
