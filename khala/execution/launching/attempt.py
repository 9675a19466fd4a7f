"""One attempt in its launcher: workspace, setup, compile, execute, removal, and the frame that tells.

When the frame of the end is sent, no process and no file of the attempt is left.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH118

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

from . import workspace
from .begun import Begun
from .capture import Capture
from .command import BadCommand
from .filling import FILLED, REFUSED, Filling
from .framing import Header
from .guard import Disk, Guard
from .judging import CUT_OFF
from .limits import PhaseLimits
from .outputs import collect
from .phase import Ground, PhaseRun
from .run import Run
from .slot import Slot
from .starting import fork

BYTES_PER_INODE = 4096
LEAST_INODES = 64
MAX_LACKING_CHARS = 500
PHASES = ("compile", "execute")


class Attempt:
    """Runs one job, from what was `begun` of it on. `report` is the frame to send when `run` has returned.

    `tree_survived` tells that a process could not be ended: the launcher must take no other job.
    """

    def __init__(
        self, slot: Slot, job: dict[str, Any], blobs: list[bytes], begun: Begun | None = None
    ) -> None:
        self._slot = slot
        self._begun = begun
        self._job = job
        self._blobs = blobs
        self._task_id: str = job["task_id"]
        self._attempt: int = job["attempt"]
        self._name = workspace.workspace_name(slot.number, self._task_id, self._attempt)
        self._path = os.path.join(slot.root, self._name)
        self._boxed: bool = job["isolation"] == "strict"
        self._limits = {
            phase: PhaseLimits.read(job[phase]["limits"]) for phase in PHASES if job[phase] is not None
        }
        self._own_fs_bytes = 0
        self._enforced: list[str] = []
        self._phases: dict[str, Header] = {}
        self._kept: list[bytes] = []
        self._outputs: list[Header] = []
        self._end: Header = {}
        self._left_empty = False
        self.tree_survived = False

    @property
    def report(self) -> tuple[Header, list[bytes]]:
        """The frame of the end, and its blobs."""
        end = {
            "task_id": self._task_id,
            "attempt": self._attempt,
            "finished_at": time.time(),
            **{phase: self._phases.get(phase) for phase in PHASES},
            "outputs": self._outputs,
            "enforced": [*self._slot.enforced, *self._box_names(), *self._enforced],
            **self._end,
        }
        return {"ended": end, "leaving": self.tree_survived}, self._kept

    def run(self) -> None:
        """The whole attempt. Raises ExecutorGone; nothing of the attempt is left then either."""
        self._slot.control.deadline_s = self._job["deadline_s"]
        try:
            try:
                self._run_in_workspace()
            finally:
                if not self.tree_survived:
                    self._clear_up()
        except OSError as error:
            self._finish("internal_error", f"the executor could not run it or clear up after it: {error}")

    def _run_in_workspace(self) -> None:
        if self._begun is None and not self._may_begin():
            return
        fd = self._make_workspace() if self._begun is None else self._begun.workspace
        try:
            if self._fill(fd):
                self._run_phases(fd)
                self._keep_outputs(fd)
        finally:
            os.close(fd)

    def _may_begin(self) -> bool:
        """Sets the end if not."""
        if self._slot.control.abort_of(self._task_id, self._attempt) is not None:
            self._finish("cancelled", "aborted before it started")
            return False
        disk = os.fstatvfs(self._slot.root_fd)
        if disk.f_bavail * disk.f_frsize < self._slot.reserve_bytes:
            self._finish("executor_lost", f"less than the free-space reserve is left on {self._slot.root}")
            return False
        if self._boxed and (self._slot.box is None or self._slot.group is None):
            self._finish("setup_failed", "isolation strict does not hold on this executor; nothing was run")
            return False
        return True

    def _make_workspace(self) -> int:
        """A directory; with a file system of its own if that is allowed and small enough, for that holds
        the disk limit exactly."""
        slot = self._slot
        fd = slot.ready.take(self._name)
        wanted = [limits.disk_bytes for limits in self._limits.values()]
        if slot.owner is None or not slot.own_mounts or not 0 < max(wanted, default=0) <= slot.tmpfs_bytes:
            return fd
        if not all(wanted):
            return fd
        os.close(fd)
        self._own_fs_bytes = max(wanted)
        uid, gid = slot.owner
        inodes = self._own_fs_bytes // BYTES_PER_INODE + LEAST_INODES
        options = f"size={self._own_fs_bytes},nr_inodes={inodes},mode=0700,uid={uid},gid={gid}"
        slot.kernel.mount_tmpfs(self._path, options)
        return os.open(self._name, workspace.OPEN_DIRECTORY, dir_fd=slot.root_fd)

    def _clear_up(self) -> None:
        slot = self._slot
        if self._own_fs_bytes:
            slot.kernel.unmount(self._path)
        # A user of its own: nobody is left who could have put something there since that look.
        is_empty = self._left_empty and slot.uid_is_own
        if slot.ended is None or not slot.ended.put(slot.root_fd, self._name, is_empty=is_empty):
            workspace.remove(slot.root_fd, self._name)
        if slot.traces is not None:
            slot.traces.remove()

    def _fill(self, fd: int) -> bool:
        if not self._job["inputs"] and not self._job["archives"]:
            return True
        bound = PhaseLimits(
            disk_bytes=max((limits.disk_bytes for limits in self._limits.values()), default=0)
        )
        guard = Guard(self._slot, bound, Disk(fd, self._own_fs_bytes), group=None)
        run = Run(self._slot, self._task_id, self._attempt, guard)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            run.start(partial(fork, Filling(self._slot, fd, self._job, self._blobs)), stdin_fd=null)
        finally:
            os.close(null)
        run.finish()
        status = os.waitstatus_to_exitcode(run.use.main_status or 0)
        if not self._is_gone(run):
            return False
        if run.ended_by == "disk_reserve":
            self._finish("executor_lost", "less than the free-space reserve is left for its inputs")
        elif run.ended_by == "disk_limit":
            self._finish(
                "disk_limit", f"its inputs are larger than its disk limit of {bound.disk_bytes} bytes"
            )
        elif run.ended_by == "cut_off":
            self._finish("executor_lost", CUT_OFF)
        elif run.ended_by:
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
        ground = Ground(
            slot=self._slot,
            task_id=self._task_id,
            attempt=self._attempt,
            path=self._path,
            disk=Disk(fd, self._own_fs_bytes),
            isolation=self._job["isolation"],
            network=self._job["network"],
        )
        for phase in wanted:
            run = PhaseRun(ground, phase, self._job[phase], self._limits[phase])
            self._left_empty = False
            try:
                running = self._begun.running if self._begun is not None else None
                run.execute(self._blobs, partial(self._tell_start, phase, run.run), running)
            except BadCommand as why:
                self._finish("setup_failed", f"the {phase} command {why}")
                return
            self._phases[phase] = {
                **run.header, "stdout": self._keep(run.run.stdout), "stderr": self._keep(run.run.stderr)
            }  # fmt: skip
            self._left_empty = not run.guard.disk_use.size_bytes
            self._enforced += [name for name in run.guard.enforced if name not in self._enforced]
            self._finish(run.exit_reason, run.reason, phase=phase)
            if not self._is_gone(run.run) or run.reason:
                return

    def _keep_outputs(self, fd: int) -> None:
        """However its last phase ended, unless it was aborted: what there is may tell why."""
        wanted, ended_by = self._job["outputs"], self._end["exit_reason"]
        if not wanted or not self._phases or self.tree_survived or ended_by == "cancelled":
            return
        collected = collect(self._slot, self._task_id, self._attempt, fd, wanted)
        self._outputs = collected.files
        if collected.left:
            self.tree_survived = True
            self._finish("internal_error", f"processes {collected.left} of its collection could not be ended")
        elif collected.aborted:
            self._finish("cancelled", "aborted while its outputs were collected")
        elif self._end["succeeded"] and collected.lacking:
            lacking = ", ".join(repr(glob) for glob in collected.lacking)[:MAX_LACKING_CHARS]
            why = f"; {collected.reason}" if collected.reason else ""
            self._finish("setup_failed", f"required outputs are lacking: {lacking}{why}")
        elif collected.reason:
            self._end["reason"] = "; ".join(filter(None, (self._end["reason"], collected.reason)))

    def _tell_start(self, phase: str, run: Run) -> None:
        self._slot.control.send_soon(
            {"phase": phase, "at": run.started_at, "task_id": self._task_id, "attempt": self._attempt}
        )

    def _is_gone(self, run: Run) -> bool:
        self.tree_survived = bool(run.left)
        if run.left:
            self._finish("internal_error", f"processes {run.left} of the task could not be ended")
        return not run.left

    def _keep(self, capture: Capture) -> Header:
        self._kept += (capture.head, capture.tail)
        head = len(self._kept) - 2
        return {
            "size": capture.size,
            "head": head,
            "tail": head + 1,
            "truncated": capture.truncated,
            "stored_bytes": capture.stored_bytes,
            "sha256": capture.sha256,
        }

    def _box_names(self) -> list[str]:
        if not self._boxed:
            return []
        return ["bwrap"] if self._job["network"] else ["bwrap", "no-network"]

    def _finish(self, exit_reason: str, reason: str, *, phase: str | None = None) -> None:
        self._end = {
            "exit_reason": exit_reason,
            "reason": reason,
            "phase": phase or self._end.get("phase"),
            "succeeded": exit_reason == "exited" and not reason,
        }
