"""Keeping an attempt's output files: the spool file, the child that fills it, and what it reports.

The launcher's thread, between the end of the attempt's last process and the removal of its workspace.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH102, PTH106, PTH108, PTH118

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .collecting import COLLECT_WITHIN_S, COLLECTED, MAX_FILES, MAX_PATHS_BYTES, Collecting
from .framing import Header
from .guard import Disk, Guard
from .limits import PhaseLimits
from .run import Run
from .slot import Slot
from .spool import OUTPUT_FILES, folder_name
from .starting import fork

MAX_REPORT_BYTES = 64 * MAX_FILES + 8 * MAX_PATHS_BYTES + (1 << 20)
MAX_REASON_CHARS = 1000


@dataclass(slots=True, kw_only=True)
class Collected:
    """What was kept: `files` in the order of their contents in the spool. `reason` says what was not, and
    `lacking` names the needed globs among that. `aborted` and `left` are about the child, as in Run."""

    files: list[Header] = field(default_factory=list)
    reason: str = ""
    lacking: list[str] = field(default_factory=list)
    aborted: bool = False
    left: list[int] = field(default_factory=list)


def collect(slot: Slot, task_id: str, attempt: int, workspace_fd: int, outputs: list[Header]) -> Collected:
    """Keep what the globs in `outputs` name. Raises ExecutorGone."""
    if not slot.spool_root:
        return _nothing(outputs, "this executor keeps no output files")
    folder = os.path.join(slot.spool_root, folder_name(task_id, attempt))
    path = os.path.join(folder, OUTPUT_FILES)
    try:
        spool_fd = _open_spool(folder, path)
    except OSError as error:
        return _nothing(outputs, f"no file can be kept: {error.strerror}")
    try:
        collected = _collect_into(spool_fd, slot, (task_id, attempt), workspace_fd, outputs)
    finally:
        os.close(spool_fd)
    if not collected.files:
        os.unlink(path)
        with contextlib.suppress(OSError):  # a stream's spool is in it
            os.rmdir(folder)
    return collected


def _open_spool(folder: str, path: str) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _collect_into(
    spool_fd: int, slot: Slot, attempt: tuple[str, int], workspace_fd: int, outputs: list[Header]
) -> Collected:
    report_fd = os.memfd_create("khala-outputs", os.MFD_CLOEXEC)
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    try:
        bound = PhaseLimits(wall_time_s=COLLECT_WITHIN_S)
        run = Run(slot, *attempt, Guard(slot, bound, Disk(workspace_fd, 0), group=None))
        entry = Collecting(slot, workspace_fd, outputs, spool_fd, report_fd, slot.kept_bytes)
        run.start(partial(fork, entry), stdin_fd=null)
        run.finish()
        report = os.pread(report_fd, MAX_REPORT_BYTES, 0)
    finally:
        os.close(null)
        os.close(report_fd)
    if run.left or run.ended_by in ("cancelled", "cut_off"):
        return Collected(aborted=not run.left, left=run.left)
    if run.ended_by:
        return _nothing(outputs, f"collecting them took longer than {COLLECT_WITHIN_S:g} s")
    status = os.waitstatus_to_exitcode(run.use.main_status or 0)
    if status != COLLECTED:
        said = run.stderr.head.decode(errors="replace").strip().rpartition("\n")[2]
        return _nothing(outputs, f"collecting them broke ({status}): {said}")
    return _read(json.loads(report))


def _read(report: dict[str, Any]) -> Collected:
    files = [
        {"path": path, "size": size, "sha256": sha256, "mode": mode}
        for path, size, sha256, mode in report["files"]
    ]
    told = [f"{path!r} {why}" if path else why for path, why in report["refused"]]
    more = report["refusals"] - len(told)
    told += [f"and {more} more"] if more else []
    reason = f"outputs not kept: {'; '.join(told)}"[:MAX_REASON_CHARS] if told else ""
    return Collected(files=files, reason=reason, lacking=report["lacking"])


def _nothing(outputs: list[Header], why: str) -> Collected:
    return Collected(
        reason=f"outputs not kept: {why}", lacking=[item["glob"] for item in outputs if item["needed"]]
    )
