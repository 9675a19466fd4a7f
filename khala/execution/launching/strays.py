"""Ending what survived both its launcher and the zygote, and so is nobody's descendant any more.

Runs in a new launcher before it removes a workspace that it finds. A stray is known by the task id
and attempt in its environment and by its workspace, there or as its working directory; a program
that hides both is beyond this and needs a control group.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH115, PTH123, PTH208

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time

from .children import now_s

WITHIN_S = 5.0
LOOK_EVERY_S = 0.005


def end_strays(workspace: str, task_id: str, attempt: int) -> None:
    """Kill every process of that attempt, looking again until none is found, for WITHIN_S seconds at most:
    what was killed goes only when it gets to run, and this process, which is preferred, does before it."""
    until_s = now_s() + WITHIN_S
    wanted = {f"KHALA_TASK_ID={task_id}".encode(), f"KHALA_ATTEMPT={attempt}".encode()}
    while [pid for pid in os.listdir("/proc") if pid.isdigit() and _end_one(pid, workspace, wanted)]:
        if now_s() > until_s:
            return
        time.sleep(LOOK_EVERY_S)


def _is_inside(pid: str, workspace: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd").startswith(workspace)
    except OSError as error:
        # It went so deep that the kernel cannot tell where it is: nothing here speaks for it.
        if error.errno == errno.ENAMETOOLONG:
            return True
        raise


def _end_one(pid: str, workspace: str, wanted: set[bytes]) -> bool:
    """Kill `pid` if it belongs to the attempt; the pidfd keeps a reused number from being hit."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        held = os.pidfd_open(int(pid))
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environment = file.read()
            named = wanted <= set(environment.split(b"\0"))
            if named and (workspace.encode() in environment or _is_inside(pid, workspace)):
                signal.pidfd_send_signal(held, signal.SIGKILL)
                return True
        finally:
            os.close(held)
    return False
