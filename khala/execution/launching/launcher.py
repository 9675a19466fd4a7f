"""A slot's launcher: takes one job after the other from the executor and runs it.

A single-threaded process, forked from the zygote. It ends when the executor closes its socket or
dies: the running attempt's processes and workspace go first.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH208

from __future__ import annotations

import contextlib
import gc
import os
import socket
from typing import Any

from . import workspace
from .attempt import Attempt
from .box import Box
from .brief import Brief
from .cgroup import TaskGroup
from .cgroup_v1 import GroupV1
from .cgroup_v2 import GroupV2
from .children import ChildWatch
from .control import Control, ExecutorGone
from .ended import Ended
from .ipc import OwnIpc
from .kernel import Kernel
from .ready import Ready
from .slot import Slot
from .strays import end_strays
from .traces import Traces
from .tree import threads_of
from .vforking import Vfork

LAUNCHER_PRIORITY = -15
# Tasks give way to what keeps the cluster together, also where no control group weighs them (nice(2)).
TASK_NICENESS, LEAST_PRIORITY = 5, 19
SPARE_THREADS = 1024
# Collecting by itself, Python would do it in a forked child too, and copy every page that it visits.
COLLECT_EVERY = 256


def serve(sock: socket.socket, settings: dict[str, Any], kernel: Kernel) -> None:
    """A launcher's whole life, after its fork."""
    os.setsid()
    os.umask(0o077)
    kernel.adopt_orphans()
    kernel.forbid_new_privileges()
    kernel.name_process(f"khala-slot-{settings['slot']}")
    own_mounts = _isolate_from_host(kernel)
    slot = _slot(sock, settings, kernel, own_mounts=own_mounts)
    with contextlib.suppress(PermissionError):
        # A task that forks without end must not keep its launcher from running. Allowed to root only.
        os.setpriority(os.PRIO_PROCESS, 0, LAUNCHER_PRIORITY)
    if slot.group is not None:
        slot.group.clear()
    _sweep(slot, settings["slots"])
    with contextlib.suppress(ExecutorGone):
        _prepare(slot)
        slot.control.send({"ready": os.getpid()})
        brief, uncollected, is_usable = Brief.here(slot), 0, True
        while is_usable:
            ended, is_usable = _run_next(slot, brief)
            if is_usable:
                _prepare(slot)
            uncollected += ended
            if uncollected >= COLLECT_EVERY:
                uncollected = 0
                gc.collect()


def _run_next(slot: Slot, brief: Brief | None) -> tuple[int, bool]:
    """The next jobs, when they are there: how many have ended, and whether the slot can be used on."""
    ended, begun = (0, None) if brief is None else brief.run()
    if ended and begun is None:
        return ended, True
    job, blobs = slot.control.next_job()
    attempt = Attempt(slot, job, blobs, begun)
    attempt.run()
    slot.control.send(*attempt.report)
    return ended + 1, not attempt.tree_survived


def _prepare(slot: Slot) -> None:
    """While the slot is idle: what the next attempt would wait for."""
    if slot.ipc is not None:
        slot.ipc.renew()
    if slot.group is not None:
        slot.group.prepare()
    slot.ready.make()


def _sweep(slot: Slot, slots: int) -> None:
    """End and remove what an earlier launcher of this slot, or an executor with more slots, left behind."""
    for name in os.listdir(slot.root_fd):
        match = workspace.NAME.fullmatch(name)
        if match and int(match[1]) % slots == slot.number:
            end_strays(f"{slot.root}/{name}", match[2], int(match[3]))
            workspace.remove(slot.root_fd, name)
    if slot.ended is not None:
        slot.ended.sweep_next(slot.number, slots)


def _isolate_from_host(kernel: Kernel) -> bool:
    """Have mounts of its own, which vanish with this process; False if that is not allowed here."""
    if os.geteuid() != 0:
        return False
    try:
        kernel.take_own_mounts()
    except OSError:
        return False
    return True


def _group(asked: dict[str, Any] | None) -> TaskGroup | None:
    if asked is None:
        return None
    if asked["version"] == 1:
        return GroupV1(asked["folders"])
    return GroupV2(asked["folders"][""], frozenset(asked["controllers"]))


def _slot(sock: socket.socket, settings: dict[str, Any], kernel: Kernel, *, own_mounts: bool) -> Slot:
    root = settings["root"]
    owner = None if settings["owner"] is None else tuple(settings["owner"])
    uid_is_own = owner is not None and settings["uid_is_own"]
    root_fd = os.open(root, workspace.OPEN_DIRECTORY)
    # By its own mounts: a rename does not cross to those of the zygote.
    ended = Ended.beside(root)
    # Until its exec the child has the launcher's memory: no other process may have its uid then.
    vfork = Vfork.here() if uid_is_own or owner is None else None
    return Slot(
        number=settings["slot"],
        root=root,
        root_fd=root_fd,
        owner=owner,
        uid_is_own=uid_is_own,
        env=settings["env"],
        head_bytes=settings["head_bytes"],
        tail_bytes=settings["tail_bytes"],
        reserve_bytes=settings["reserve_bytes"],
        kill_grace_s=settings["kill_grace_s"],
        task_priority=min(LEAST_PRIORITY, os.getpriority(os.PRIO_PROCESS, 0) + TASK_NICENESS),
        control=Control(sock),
        watch=ChildWatch(kernel),
        kernel=kernel,
        group=_group(settings["group"]),
        box=Box(settings["bwrap"], owner, settings["shown_paths"]) if settings["bwrap"] and owner else None,
        traces=Traces(owner[0]) if owner is not None and uid_is_own else None,
        cpus=os.cpu_count() or 1,
        other_processes=0 if uid_is_own else threads_of(owner[0] if owner else os.geteuid()) + SPARE_THREADS,
        own_mounts=own_mounts,
        ipc=OwnIpc(kernel, vfork) if own_mounts else None,
        ended=ended,
        ready=Ready(settings["slot"], root_fd, owner, ended, vfork),
        tmpfs_bytes=settings["tmpfs_bytes"],
        spool_root=settings["spool_root"],
        stored_bytes=settings["stored_bytes"],
        kept_bytes=settings["kept_bytes"],
        vfork=vfork,
    )
