"""From how a phase went to its exit reason, and why in words. Pure but for what the guard measures."""

from __future__ import annotations

import os
import signal

from .box import SIGNALED_FROM
from .guard import Guard
from .run import Run

# What a shell makes of a child that a signal ended, and what programs do by themselves.
OVER_CPU = (-signal.SIGXCPU, SIGNALED_FROM + signal.SIGXCPU)
CUT_OFF = "ended by its launcher: the executor did not say that it still belongs to the cluster"
OVER_FILE_SIZE = (-signal.SIGXFSZ, SIGNALED_FROM + signal.SIGXFSZ)


def exit_status(run: Run, *, boxed: bool) -> int | None:
    """The exit code, or minus the signal's number; None if it could not be ended.

    bwrap tells a signal as 128 and its number, as shells do; so a boxed command that itself exits with
    such a code counts as ended by that signal.
    """
    if run.use.main_status is None:
        return None
    code = os.waitstatus_to_exitcode(run.use.main_status)
    if boxed and SIGNALED_FROM < code <= SIGNALED_FROM + signal.SIGRTMAX:
        return SIGNALED_FROM - code
    return code


def judge(phase: str, run: Run, guard: Guard, status: int | None) -> tuple[str, str]:
    """The exit reason of a phase and, unless it succeeded, why in words."""
    if run.ended_by == "cancelled":
        return "cancelled", f"aborted in {phase}"
    if run.ended_by == "cut_off":
        return "executor_lost", CUT_OFF
    if run.ended_by == "disk_reserve":
        why = f"{phase} was ended: less than the free-space reserve is left on the executor"
        return "disk_limit" if guard.holds_much else "executor_lost", why
    exit_reason = run.ended_by or _limit_found_late(run, guard, status)
    if exit_reason:
        return exit_reason, f"{phase} {_what_was_exceeded(exit_reason, guard)}"
    if status is None:
        return "internal_error", f"{phase} could not be ended"
    if status < 0:
        return "signaled", f"{phase} was ended by {_signal_name(-status)}"
    return "exited", f"{phase} exited with code {status}" if status else ""


def _limit_found_late(run: Run, guard: Guard, status: int | None) -> str:
    """A limit that the kernel held, or that was passed between two looks."""
    limits, use = guard.limits, guard.use
    cpu_s = run.use.cpu_user_s + run.use.cpu_system_s
    at_largest = guard.disk_use.largest_file_bytes >= limits.largest_file_bytes > 0
    if use.memory_kills:
        return "memory_limit"
    if limits.output_bytes and run.output_bytes > limits.output_bytes:
        return "output_limit"
    if limits.cpu_time_s and (cpu_s > limits.cpu_time_s or status in OVER_CPU):
        return "cpu_time_limit"
    own_bound = limits.file_size_bytes == limits.largest_file_bytes > 0
    if status and own_bound and (at_largest or status in OVER_FILE_SIZE):
        return "file_size_limit"
    if limits.disk_bytes and (
        guard.disk_is_over or (status and (guard.disk_is_full or at_largest or status in OVER_FILE_SIZE))
    ):
        return "disk_limit"
    if status and use.processes_refused:
        return "process_limit"
    return ""


def _what_was_exceeded(exit_reason: str, guard: Guard) -> str:
    limits = guard.limits
    if exit_reason == "memory_limit" and not limits.memory_bytes:
        return "was ended: the tasks of this executor used up all memory that they may use together"
    return {
        "wall_time_limit": f"ran longer than its wall time limit of {limits.wall_time_s:g} s",
        "cpu_time_limit": f"used more CPU time than its limit of {limits.cpu_time_s:g} s",
        "memory_limit": f"used more memory than its limit of {_size(limits.memory_bytes)}",
        "output_limit": f"wrote more output than its limit of {_size(limits.output_bytes)}",
        "disk_limit": f"filled its workspace beyond its limit of {_size(limits.disk_bytes)}",
        "file_size_limit": f"wrote a file larger than its limit of {_size(limits.file_size_bytes)}",
        "process_limit": f"wanted more processes than its limit of {limits.processes}",
    }[exit_reason]


def _size(size_bytes: int) -> str:
    """As `khala.sizes` tells it, which no launcher loads."""
    return f"{round(size_bytes / 2**20, 3):.15g} MiB" if size_bytes >= 2**20 else f"{size_bytes} bytes"


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
