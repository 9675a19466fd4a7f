"""A slot's launcher: takes one job after the other from the executor and runs it.

A single-threaded process, forked from the zygote. It ends when the executor closes its socket or
dies: the running attempt's processes and workspace go first.
"""
# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH208

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

from . import workspace
from .attempt import Attempt
from .children import ChildWatch
from .control import Control, ExecutorGone
from .kernel import Kernel
from .slot import Slot
from .strays import end_strays

LAUNCHER_PRIORITY = -15


def serve(sock: socket.socket, settings: dict[str, Any], kernel: Kernel) -> None:
    """A launcher's whole life, after its fork."""
    os.setsid()
    os.umask(0o077)
    kernel.adopt_orphans()
    kernel.forbid_new_privileges()
    kernel.name_process(f"khala-slot-{settings['slot']}")
    slot = _slot(sock, settings)
    with contextlib.suppress(PermissionError):
        # A task that forks without end must not keep its launcher from running. Allowed to root only.
        os.setpriority(os.PRIO_PROCESS, 0, LAUNCHER_PRIORITY)
    _sweep(slot, settings["slots"])
    with contextlib.suppress(ExecutorGone):
        slot.control.send({"ready": os.getpid()})
        while True:
            header, blobs = slot.control.next_frame()
            if "job" not in header:
                # An abort that came after its attempt had ended.
                continue
            attempt = Attempt(slot, header["job"], blobs)
            attempt.run()
            slot.control.send(*attempt.report)
            if attempt.tree_survived:
                return


def _sweep(slot: Slot, slots: int) -> None:
    """End and remove what an earlier launcher of this slot, or an executor with more slots, left behind."""
    for name in os.listdir(slot.root_fd):
        match = workspace.NAME.fullmatch(name)
        if match and int(match[1]) % slots == slot.number:
            end_strays(f"{slot.root}/{name}", match[2], int(match[3]))
            workspace.remove(slot.root_fd, name)


def _slot(sock: socket.socket, settings: dict[str, Any]) -> Slot:
    root = settings["root"]
    return Slot(
        number=settings["slot"],
        root=root,
        root_fd=os.open(root, workspace.OPEN_DIRECTORY),
        owner=None if settings["owner"] is None else tuple(settings["owner"]),
        env=settings["env"],
        head_bytes=settings["head_bytes"],
        tail_bytes=settings["tail_bytes"],
        reserve_bytes=settings["reserve_bytes"],
        task_priority=os.getpriority(os.PRIO_PROCESS, 0),
        control=Control(sock),
        watch=ChildWatch(),
    )
