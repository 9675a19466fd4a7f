"""After `kill -9` of an executor, its zygote and its launchers at once, the next one sweeps first."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from execution.harness import (
    launcher_pids,
    leave_behind,
    mark,
    new_root,
    opened,
    processes_marked,
    zygote_pids,
)
from groups import groups_of
from uids import uids_of_node
from wait import wait_until

from khala.core.task import Isolation
from khala.execution.probing import HostIsolation

EXECUTOR = """
import sys, threading
from pathlib import Path
from khala.core.task import Command, Isolation, Limits, TaskSpec
from khala.execution.job import Job
from khala.execution.pool import LauncherPool
from khala.execution.settings import ExecutionSettings
root, level, bwrap, cgroups, script, uid = sys.argv[1:]
pool = LauncherPool(ExecutionSettings(
    slots=2, workspace_root=Path(root), uid_base=int(uid), levels=tuple(Isolation), bwrap=bwrap,
    cgroups=cgroups == "1",
), print)
pool.start()
limits = Limits(wall_time_s=300.0, processes=64, disk_bytes=(32 << 20) if level == "basic" else None)
spec = TaskSpec(execute=Command(shell=script, limits=limits), isolation=Isolation(level))
for slot in (0, 1):
    pool.run(slot, Job(task_id=f"{slot:024x}", attempt=1, spec=spec))
threading.Event().wait()
"""


@pytest.mark.parametrize("together", [True, False], ids=["all at once", "the executor alone"])
def test_nothing_survives_a_restart(
    open_folder: Path, level: Isolation, host: HostIsolation, together: bool
) -> None:
    root, name = new_root(open_folder), mark()
    script = leave_behind(name) + "sleep 300"
    holds = (host.bwrap, str(int(host.cgroups)))
    argv = [
        sys.executable,
        "-c",
        EXECUTOR,
        str(root),
        level.value,
        *holds,
        script,
        str(uids_of_node(1, nodes=4)),
    ]
    executor = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    try:
        wait_until(lambda: len(processes_marked(name)) >= 2 * 3, what="the tasks are up")
    finally:
        family = [*zygote_pids(root), *launcher_pids(root).values()] if together else []
        for pid in (executor.pid, *family):
            with contextlib.suppress(ProcessLookupError):  # it has noticed the end of the one before
                os.kill(pid, signal.SIGKILL)
        executor.wait()
    holding = {"levels": host.levels, "cgroups": host.cgroups, "bwrap": host.bwrap}
    again = opened(root, **holding)
    try:
        assert processes_marked(name) == []
        assert list(root.iterdir()) == []
        assert again.shell("echo again").stdout.head == b"again\n"
        assert str(root) not in Path("/proc/self/mounts").read_text()
    finally:
        again.pool.close()
    assert not groups_of(root)
