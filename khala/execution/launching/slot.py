"""What a launcher knows of its slot for all its life, and how a child of it becomes a task."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from .box import Box
from .cgroup import TaskGroup
from .children import ChildWatch
from .control import Control
from .ended import Ended
from .ipc import OwnIpc
from .kernel import Kernel
from .program import OOM_SCORE
from .ready import Ready
from .traces import Traces
from .vforking import Vfork


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One slot's settings and its launcher's connections.

    `owner` is the (uid, gid) that a task runs as, or None when the launcher is not root and a task
    runs as the launcher's own user; `uid_is_own` says that no other slot uses that uid. `env` is the
    part of the environment that all tasks share. `other_processes` is how many processes, threads
    included, the tasks' user may have beside a task's own. `group` and `box` are None where the host
    has none. A workspace gets a file system of its own, of at most `tmpfs_bytes`, if `own_mounts`;
    then there is an `ipc`, too. `ready` has the next one, and the pipes of
    its first command; an empty one goes to `ended`, if there is such a folder.
    Output is spooled below `spool_root` ("": nowhere), at most `stored_bytes` of it in a phase; so are
    output files, at most `kept_bytes` of an attempt. A command is started by `vfork`, or forked if that
    is None.
    """

    number: int
    root: str
    root_fd: int
    owner: tuple[int, int] | None
    uid_is_own: bool
    env: dict[str, str]
    head_bytes: int
    tail_bytes: int
    reserve_bytes: int
    kill_grace_s: float
    task_priority: int
    control: Control
    watch: ChildWatch
    kernel: Kernel
    group: TaskGroup | None
    box: Box | None
    traces: Traces | None
    cpus: int
    other_processes: int
    own_mounts: bool
    ipc: OwnIpc | None
    ended: Ended | None
    ready: Ready
    tmpfs_bytes: int
    spool_root: str
    stored_bytes: int
    kept_bytes: int
    vfork: Vfork | None

    @property
    def enforced(self) -> list[str]:
        """What holds for every task here: the names of layer 1."""
        if self.owner is None:
            return ["no_new_privs"]
        return ["uid" if self.uid_is_own else "uid:shared", "no_new_privs", "no_capabilities"]

    def become_task(self) -> None:
        """In a forked child: give up root for good (P18).

        PR_SET_PDEATHSIG is not used: the zygote ends what a dead launcher leaves.
        """
        os.setpriority(os.PRIO_PROCESS, 0, self.task_priority)
        _prefer_as_victim()
        if self.owner is not None:
            uid, gid = self.owner
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)


def _prefer_as_victim() -> None:
    """When the whole host runs out of memory, a task goes before anything else."""
    with contextlib.suppress(OSError):
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, OOM_SCORE)
        finally:
            os.close(fd)
