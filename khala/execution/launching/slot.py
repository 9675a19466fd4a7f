"""What a launcher knows of its slot for all its life, and how a child of it becomes a task."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .children import ChildWatch
from .control import Control


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One slot's settings and its launcher's connections.

    `owner` is the (uid, gid) that a task runs as, or None when the launcher is not root and a task
    runs as the launcher's own user. `env` is the part of the environment that all tasks share.
    """

    number: int
    root: str
    root_fd: int
    owner: tuple[int, int] | None
    env: dict[str, str]
    head_bytes: int
    tail_bytes: int
    reserve_bytes: int
    task_priority: int
    control: Control
    watch: ChildWatch

    def become_task(self) -> None:
        """In a forked child: give up root for good (P18).

        PR_SET_PDEATHSIG is not used: the zygote ends what a dead launcher leaves, and the call through
        ctypes took 0.4 ms, a tenth of a short task.
        """
        os.setpriority(os.PRIO_PROCESS, 0, self.task_priority)
        if self.owner is not None:
            uid, gid = self.owner
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
