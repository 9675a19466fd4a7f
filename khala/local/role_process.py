"""One role process as its supervisor sees it: started, watched, counted, stopped with all it left.

Each runs in a session of its own, so that a Ctrl-C in the terminal reaches only the supervisor, and
holds the reading end of the supervisor's pipe, whose end tells it that the supervisor is dead.
Used by the supervisor's only thread.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from khala.local.identity import identity_of
from khala.local.plan import RolePlan
from khala.local.record import ProcessRecord
from khala.services.log_file import LogFile

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_STEADY_S = 30.0
LOG_BYTES = 16 << 20
"""A log that is longer is moved aside, in place of what was moved before."""


class RoleProcess:
    """The process of one plan, through all its restarts."""

    def __init__(
        self, plan: RolePlan, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.plan = plan
        self.log = log
        self.log_file = LogFile(log, max_bytes=LOG_BYTES)
        self.restarts = 0
        self.last_code: int | None = None
        self.left = False  # it ended because it no longer belongs to the cluster
        self._command = command
        self._environment = environment
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._started = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._restart_at = 0.0

    def start(self, parent_pipe: int) -> None:
        """Start it; its output is appended to its log."""
        self.log_file.keep_small()
        arguments = [*self._command, self.plan.role, *self.plan.flags, f"--end-with-fd={parent_pipe}"]
        with open(self.log_file.open(), "ab") as output:  # noqa: PTH123 - a descriptor
            self._child = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(self._environment),
                pass_fds=(parent_pipe,),
                start_new_session=True,
            )
        self._started_at, self._started = time.time(), time.monotonic()

    @property
    def running(self) -> bool:
        """Is there a process that has not been found dead?"""
        return self._child is not None

    def found_dead(self) -> bool:
        """Did it end since it was started? Then all that it left behind is ended too, once."""
        child = self._child
        if child is None:
            return False
        # WNOWAIT leaves the zombie, which keeps the group's number from being given away.
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self._kill_group(child.pid)
        self.last_code = child.wait()
        self._child = None
        if time.monotonic() - self._started > _STEADY_S:
            self._pause_s = _FIRST_PAUSE_S
        self._restart_at = time.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        return True

    def restart_if_due(self, parent_pipe: int) -> bool:
        """Start a dead process again once its pause is over."""
        if self._child is not None or time.monotonic() < self._restart_at:
            return False
        self.restarts += 1
        self.start(parent_pipe)
        return True

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self._child is not None:
            # Not terminate(): it reaps a child that has just died, and `found_dead` would miss it.
            os.kill(self._child.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and its group at once."""
        if self._child is not None:
            self._kill_group(self._child.pid)
            self.last_code = self._child.wait()
            self._child = None

    def record(self) -> ProcessRecord:
        """What is written down about it."""
        return ProcessRecord(
            name=self.plan.name,
            role=self.plan.role,
            identity=identity_of(self._child.pid) if self._child is not None else None,
            started_at=self._started_at,
            restarts=self.restarts,
            last_exit=describe_exit(self.last_code),
        )

    @staticmethod
    def _kill_group(group: int) -> None:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            return


def describe_exit(code: int | None) -> str:
    """A return code in words; negative ones are signals."""
    if code is None:
        return ""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
