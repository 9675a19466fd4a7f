"""What setrlimit(2) holds for a phase's processes, set by its forked child while it still may.

Bounds of single processes, all but RLIMIT_NPROC: they back up what a control group and the guard
hold for the whole tree, and stand in for them, named as what they are, where there are none.
"""

from __future__ import annotations

import math
import resource

from .limits import PhaseLimits

XCPU_AFTER_S = 1
CPU_KILL_AFTER_S = 2


def set_rlimits(limits: PhaseLimits, *, processes: int, memory: bool) -> None:
    """Apply `limits` to this process and all it will start. `processes` is RLIMIT_NPROC, or 0; `memory`
    says whether to bound each process's data."""
    _set(resource.RLIMIT_CORE, 0)
    if limits.open_files:
        _set(resource.RLIMIT_NOFILE, limits.open_files)
    if limits.largest_file_bytes:
        _set(resource.RLIMIT_FSIZE, limits.largest_file_bytes)
    if limits.cpu_time_s:
        # The guard is exact; this is for the case that it does not get to run.
        soft = math.ceil(limits.cpu_time_s) + XCPU_AFTER_S
        _set(resource.RLIMIT_CPU, soft, soft + CPU_KILL_AFTER_S)
    if processes:
        _set(resource.RLIMIT_NPROC, processes)
    if memory and limits.memory_bytes:
        _set(resource.RLIMIT_DATA, limits.memory_bytes)


def _set(which: int, soft: int, hard: int | None = None) -> None:
    """Lower both limits to `soft` and `hard`; never above what this process has itself."""
    _, most = resource.getrlimit(which)
    wanted = soft if hard is None else hard
    hard = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(which, (min(soft, hard), hard))
