"""What setrlimit(2) holds for a phase's processes, set by its first one while it still may.

Bounds of single processes, all but RLIMIT_NPROC: they back up what a control group and the guard
hold for the whole tree, and stand in for them, named as what they are, where there are none.
"""

from __future__ import annotations

import math
import resource
from functools import lru_cache
from typing import NamedTuple

from .limits import PhaseLimits

XCPU_AFTER_S = 1
CPU_KILL_AFTER_S = 2


class Rlimit(NamedTuple):
    """One limit of setrlimit(2)."""

    resource: int
    soft: int
    hard: int


@lru_cache(maxsize=64)
def rlimits_for(limits: PhaseLimits, *, processes: int, memory: bool) -> tuple[Rlimit, ...]:
    """What to set for `limits`, never above what this process has itself, which does not change.
    `processes` is RLIMIT_NPROC, or 0; `memory` says whether to bound each process's data."""
    wanted = [Rlimit(resource.RLIMIT_CORE, 0, 0)]
    if limits.cpu_time_s:
        # The guard is exact; this is for the case that it does not get to run.
        soft = math.ceil(limits.cpu_time_s) + XCPU_AFTER_S
        wanted.append(Rlimit(resource.RLIMIT_CPU, soft, soft + CPU_KILL_AFTER_S))
    for which, most in (
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_FSIZE, limits.largest_file_bytes),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_DATA, limits.memory_bytes if memory else 0),
    ):
        if most:
            wanted.append(Rlimit(which, most, most))
    return tuple(map(_allowed, wanted))


def _allowed(limit: Rlimit) -> Rlimit:
    _, most = resource.getrlimit(limit.resource)
    hard = limit.hard if most == resource.RLIM_INFINITY else min(limit.hard, most)
    return Rlimit(limit.resource, min(limit.soft, hard), hard)
