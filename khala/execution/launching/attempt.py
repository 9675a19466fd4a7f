"""One attempt in its launcher: workspace, setup, compile, execute, removal, and the frame that tells.

When the frame of the end is sent, no process and no file of the attempt is left.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH118

from __future__ import annotations

import os
import signal
import time
from typing import Any

from . import workspace
from .capture import Capture
from .command import BadCommand, CommandRun, open_stdin, task_environment
from .filling import FILLED, REFUSED, Filling
from .framing import Header
from .run import Run
from .slot import Slot

PHASES = ("compile", "execute")


class Attempt:
    """Runs one job. `report` is the frame to send when `run` has returned.

    `tree_survived` tells that a process could not be ended: the launcher must take no other job.
    """

    def __init__(self, slot: Slot, job: dict[str, Any], blobs: list[bytes]) -> None:
        self._slot = slot
        self._job = job
        self._blobs = blobs
        self._task_id: str = job["task_id"]
        self._attempt: int = job["attempt"]
        self._name = workspace.workspace_name(slot.number, self._task_id, self._attempt)
        self._path = os.path.join(slot.root, self._name)
        self._phases: dict[str, Header] = {}
        self._kept: list[bytes] = []
        self._end: Header = {}
        self.tree_survived = False

    @property
    def report(self) -> tuple[Header, list[bytes]]:
        """The frame of the end, and its blobs."""
        end = {
            "task_id": self._task_id,
            "attempt": self._attempt,
            "finished_at": time.time(),
            **{phase: self._phases.get(phase) for phase in PHASES},
            **self._end,
        }
        return {"ended": end, "leaving": self.tree_survived}, self._kept

    def run(self) -> None:
        """The whole attempt. Raises ExecutorGone; nothing of the attempt is left then either."""
        try:
            try:
                self._run_in_workspace()
            finally:
                if not self.tree_survived:
                    workspace.remove(self._slot.root_fd, self._name)
        except OSError as error:
            self._finish("internal_error", f"the executor could not run it or clear up after it: {error}")

    def _run_in_workspace(self) -> None:
        disk = os.fstatvfs(self._slot.root_fd)
        if disk.f_bavail * disk.f_frsize < self._slot.reserve_bytes:
            self._finish("internal_error", f"less than the free-space reserve is left on {self._slot.root}")
            return
        fd = workspace.create(self._slot.root_fd, self._name, self._slot.owner)
        try:
            if self._fill(fd):
                self._run_phases(fd)
        finally:
            os.close(fd)

    def _fill(self, fd: int) -> bool:
        if not self._job["inputs"] and not self._job["archives"]:
            return True
        run = Run(self._slot, self._task_id, self._attempt)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            run.start(Filling(self._slot, fd, self._job, self._blobs), stdin_fd=null)
        finally:
            os.close(null)
        run.finish()
        status = os.waitstatus_to_exitcode(run.use.main_status or 0)
        if not self._is_gone(run):
            return False
        if run.ended_by:
            self._finish("cancelled", "aborted while its workspace was prepared")
        elif status == REFUSED:
            self._finish("setup_failed", run.stdout.head.decode(errors="replace"))
        elif status != FILLED:
            said = run.stderr.head.decode(errors="replace").strip().rpartition("\n")[2]
            self._finish("internal_error", f"preparing the workspace broke ({status}): {said}")
        return not self._end

    def _run_phases(self, fd: int) -> None:
        wanted = [phase for phase in PHASES if self._job[phase] is not None]
        if not wanted:
            self._finish("setup_failed", "the task has neither a compile nor an execute command")
        for phase in wanted:
            try:
                run = self._run_phase(phase, self._job[phase], fd)
            except BadCommand as why:
                self._finish("setup_failed", f"the {phase} command {why}")
                return
            exit_reason, reason = _judge(phase, run, self._job[phase]["wall_time_s"])
            self._phases[phase] = self._tell(run, exit_reason)
            self._finish(exit_reason, reason, phase=phase)
            if not self._is_gone(run) or reason:
                return

    def _run_phase(self, phase: str, command: dict[str, Any], fd: int) -> Run:
        env = task_environment(self._slot, self._path, command["env"], self._task_id, self._attempt)
        entry = CommandRun(self._slot, fd, command, env)
        run = Run(self._slot, self._task_id, self._attempt, wall_time_s=command["wall_time_s"])
        stdin_fd = open_stdin(command, self._blobs)
        try:
            run.start(entry, stdin_fd=stdin_fd)
        finally:
            os.close(stdin_fd)
        try:
            self._slot.control.send(
                {"phase": phase, "at": run.started_at, "task_id": self._task_id, "attempt": self._attempt}
            )
        finally:
            run.finish()
        return run

    def _is_gone(self, run: Run) -> bool:
        self.tree_survived = bool(run.left)
        if run.left:
            self._finish("internal_error", f"processes {run.left} of the task could not be ended")
        return not run.left

    def _tell(self, run: Run, exit_reason: str) -> Header:
        code = None if run.use.main_status is None else os.waitstatus_to_exitcode(run.use.main_status)
        return {
            "exit_reason": exit_reason,
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
            "started_at": run.started_at,
            "wall_time_s": run.wall_time_s,
            "cpu_user_s": run.use.cpu_user_s,
            "cpu_system_s": run.use.cpu_system_s,
            "max_rss_bytes": run.use.max_rss_bytes,
            "stdout": self._keep(run.stdout),
            "stderr": self._keep(run.stderr),
        }

    def _keep(self, capture: Capture) -> Header:
        self._kept += (capture.head, capture.tail)
        head = len(self._kept) - 2
        return {"size": capture.size, "head": head, "tail": head + 1, "truncated": capture.truncated}

    def _finish(self, exit_reason: str, reason: str, *, phase: str | None = None) -> None:
        self._end = {
            "exit_reason": exit_reason,
            "reason": reason,
            "phase": phase or self._end.get("phase"),
            "succeeded": exit_reason == "exited" and not reason,
        }


def _judge(phase: str, run: Run, wall_time_s: float) -> tuple[str, str]:
    """The exit reason of a phase and, unless it succeeded, why in words."""
    if run.ended_by == "wall_time_limit":
        return "wall_time_limit", f"{phase} ran longer than its wall time limit of {wall_time_s:g} s"
    if run.ended_by == "cancelled":
        return "cancelled", f"aborted in {phase}"
    if run.use.main_status is None:
        return "internal_error", f"{phase} could not be ended"
    code = os.waitstatus_to_exitcode(run.use.main_status)
    if code < 0:
        return "signaled", f"{phase} was ended by {_signal_name(-code)}"
    return "exited", f"{phase} exited with code {code}" if code else ""


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
