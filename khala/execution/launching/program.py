"""What a child of a launcher becomes, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .rlimits import Rlimit

OOM_SCORE = b"700"
"""When the whole host runs out of memory, a task goes before anything else."""


class Stdio(NamedTuple):
    """The descriptors that a child has as 0, 1 and 2."""

    stdin: int
    stdout: int
    stderr: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a child becomes, in this order: bounded by `limits`, of this priority (nice(2)), its `owner`
    (uid, gid) if there is one, in the directory `folder_fd`, and then `argv`.

    The program is the first of `places` that can be run; or `box` is, if one of them can, and keeps
    `kept_fds`. `name` is what the task calls it.
    """

    limits: tuple[Rlimit, ...]
    priority: int
    owner: tuple[int, int] | None
    folder_fd: int
    name: str
    argv: list[str]
    env: dict[str, str]
    places: list[str]
    box: str = ""
    kept_fds: tuple[int, ...] = ()
