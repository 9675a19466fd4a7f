"""Ending process trees: everything below this process, however it has forked or detached itself.

The caller is a child subreaper, so a daemon that lost its parent is its child again. Stopping
everything before killing anything keeps a fork race short; the loop ends when waitpid says that no
child is left, or when the time is up, and then says who is.
"""

# Works by descriptors and starts without pathlib.
# ruff: noqa: PTH110, PTH116, PTH123, PTH208

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Container, Iterable

from .cgroup import TaskGroup
from .children import ChildWatch, now_s

LAST_LOOK_S = 0.3


def descendants(spared: Container[int] = ()) -> dict[int, int]:
    """Every living process below this one as pid → parent, but the `spared` children and theirs."""
    found: dict[int, int] = {}
    todo = [os.getpid()]
    while todo:
        parent = todo.pop()
        for pid in children_of(parent):
            if pid not in found and pid not in spared:
                found[pid] = parent
                todo.append(pid)
    return found


def children_of(pid: int) -> list[int]:
    """The children of all threads of `pid`; none if it is gone (proc_pid_task_children(5))."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return []
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        return _scan_children(pid)
    children: list[int] = []
    for thread in threads:
        with (
            contextlib.suppress(FileNotFoundError, ProcessLookupError),
            open(f"/proc/{pid}/task/{thread}/children", "rb") as listing,
        ):
            children += map(int, listing.read().split())
    return children


def _scan_children(pid: int) -> list[int]:
    """The same on a kernel without CONFIG_PROC_CHILDREN."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and parent_of(int(name)) == pid]


def parent_of(pid: int) -> int:
    """The parent of `pid`, or 0 when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def cpu_time_of(pids: Iterable[int]) -> float:
    """The CPU time of these processes and their ended children so far, in seconds."""
    ticks = 0
    for pid in pids:
        with (
            contextlib.suppress(FileNotFoundError, ProcessLookupError),
            open(f"/proc/{pid}/stat", "rb") as stat,
        ):
            ticks += sum(map(int, stat.read().rpartition(b")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def threads_of(uid: int) -> int:
    """How many threads processes of `uid` have."""
    threads = 0
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                threads += os.stat(f"/proc/{name}/task").st_nlink - 2
    return threads


def signal_family(family: dict[int, int], number: signal.Signals) -> None:
    """Send `number` to each pid of `family` that is still what it was: a descendant of this process."""
    for pid in family:
        _signal_one(pid, family, number)


def _signal_one(pid: int, family: dict[int, int], number: signal.Signals) -> None:
    """A pid may have been given to a stranger since it was listed: hold the process by a pidfd, look
    at its parent again, and only then send."""
    with contextlib.suppress(ProcessLookupError):
        held = os.pidfd_open(pid)
        try:
            parent = parent_of(pid)
            if parent in family or parent == os.getpid():
                signal.pidfd_send_signal(held, number)
        finally:
            os.close(held)


def freeze(deadline_s: float, spared: Container[int] = ()) -> dict[int, int]:
    """Stop every descendant, and again those that were forked meanwhile, until no new one appears or
    `deadline_s` on the clock of `now_s` is past. Returns them as pid → parent."""
    frozen: dict[int, int] = {}
    while now_s() < deadline_s or not frozen:
        family = descendants(spared)
        fresh = [pid for pid in family if pid not in frozen]
        frozen.update(family)
        if not fresh:
            break
        for pid in fresh:
            _signal_one(pid, frozen, signal.SIGSTOP)
    return frozen


def end_all(
    anything_left: Callable[[], bool],
    watch: ChildWatch,
    *,
    within_s: float,
    spared: Container[int] = (),
    group: TaskGroup | None = None,
) -> list[int]:
    """Kill every descendant but the `spared` children until `anything_left` (which reaps) says no.

    Their control group, where there is one, is killed as a whole first; what is not in it yet or any
    more goes the other way.

    Returns the pids that could not be ended within `within_s` seconds: none, unless the kernel holds
    them (uninterruptible input or output) or they fork faster than this process gets to run.
    """
    deadline_s = now_s() + within_s
    while anything_left():
        if group is not None and group.pids():
            group.kill()
            watch.wait(0.01)
            if not anything_left():
                return []
        family = freeze(deadline_s, spared)
        signal_family(family, signal.SIGKILL)
        if now_s() > deadline_s:
            return sorted(family) if _are_left(anything_left, watch) else []
        watch.wait(0.01)
    return []


def _are_left(anything_left: Callable[[], bool], watch: ChildWatch) -> bool:
    """What was killed just now goes in a moment, and the time may be up because this process did not get
    to run."""
    until_s = now_s() + LAST_LOOK_S
    while anything_left():
        if (left_s := until_s - now_s()) <= 0:
            return True
        watch.wait(left_s)
    return False
