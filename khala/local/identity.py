"""Which process a pid stands for: a pid alone may by now belong to a stranger.

Reads /proc (proc(5): the start time is field 22 of `stat`) and sends signals through pidfds
(pidfd_open(2)), so that no signal ever reaches another process than the one that was meant.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

_STATE, _START_TIME = 0, 19
_DEAD_STATES = frozenset({"Z", "X"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """A process: its pid, and the boot and clock tick at which it started."""

    pid: int
    started: str

    def alive(self) -> bool:
        """Does this very process still run? A zombie does not."""
        return identity_of(self.pid) == self

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; False if the process is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


def identity_of(pid: int) -> ProcessIdentity | None:
    """The identity of the running process `pid`, or None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 1 :].split()
    if fields[_STATE] in _DEAD_STATES:
        return None
    return ProcessIdentity(pid=pid, started=f"{boot}/{fields[_START_TIME]}")
