"""`khala down`: end a local cluster, whoever of it is still alive.

Asks the supervisor, which stops the roles in order; when the supervisor is dead, ends the role
processes that it wrote down, in the same order. Runs in the command's only thread.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from khala.errors import KhalaError
from khala.local.identity import ProcessIdentity
from khala.local.record import ClusterRecord, ProcessRecord, read_record, write_record

_SILENT_S = 2.0
_SUPERVISOR_STOP_S = 75.0
_ROLE_STOP_S = 20.0
_TICK_S = 0.05
_ORDER = ("gateway", "executor", "judicator")

Say = Callable[[str], None]


def stop_cluster(data_dir: Path, say: Say) -> bool:
    """End the cluster of `data_dir`; False if nothing of it was running."""
    record = read_record(data_dir)
    if record is None:
        return False
    stopped = False
    if record.supervisor is not None and record.supervisor.send(signal.SIGTERM):
        say(f"asked the supervisor (pid {record.supervisor.pid}) to stop the cluster")
        stopped = True
        gone = _wait_gone(record.supervisor, _SILENT_S)
        if not gone:
            say(f"waiting for it: running tasks get some seconds (in all at most {_SUPERVISOR_STOP_S:g} s)")
        if not gone and not _wait_gone(record.supervisor, _SUPERVISOR_STOP_S):
            say("the supervisor did not stop in time: killing it")
            record.supervisor.send(signal.SIGKILL)
            _wait_gone(record.supervisor, _ROLE_STOP_S)
        record = read_record(data_dir) or record
    return end_orphans(data_dir, record, say) or stopped


def end_orphans(data_dir: Path, record: ClusterRecord, say: Say) -> bool:
    """End the role processes that a killed supervisor left; False if there were none."""
    left = [entry for entry in record.processes if entry.identity is not None and entry.identity.alive()]
    for role in _ORDER:
        _end([entry for entry in left if entry.role == role], say)
    if left or record.state != "stopped":
        ended = tuple(dataclasses.replace(entry, identity=None) for entry in record.processes)
        write_record(data_dir, dataclasses.replace(record, state="stopped", supervisor=None, processes=ended))
    return bool(left)


def _end(entries: Sequence[ProcessRecord], say: Say) -> None:
    identities = [(entry.name, entry.identity) for entry in entries if entry.identity is not None]
    for name, identity in identities:
        say(f"stopping {name} (pid {identity.pid}), which lost its supervisor")
        identity.send(signal.SIGTERM)
    for name, identity in identities:
        if _wait_gone(identity, _ROLE_STOP_S):
            continue
        say(f"{name} did not stop in time: killing it")
        _kill_group(identity)
        if not _wait_gone(identity, _ROLE_STOP_S):
            raise KhalaError(f"{name} (pid {identity.pid}) cannot be killed: it belongs to another user?")


def _kill_group(identity: ProcessIdentity) -> None:
    """A role process leads a group of its own, so its group's number is its pid."""
    if identity.alive():
        os.killpg(identity.pid, signal.SIGKILL)


def _wait_gone(identity: ProcessIdentity, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while identity.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(_TICK_S)
    return True
