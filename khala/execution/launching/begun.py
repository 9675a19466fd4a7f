"""An attempt that one part of the launcher has begun, for another one to go on with: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .children import Reaper


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A command that was started, and may have ended. `use` has its pid and what was reaped; `reads` are the
    pipes of its output, `gave` what was read, `at_end` which of them is closed at the other end.
    `started_at` is Unix time, `started_s` on the clock of `now_s`."""

    use: Reaper
    reads: tuple[int, int]
    gave: tuple[bytes, bytes]
    at_end: tuple[bool, bool]
    started_at: float
    started_s: float


class Begun(NamedTuple):
    """An attempt whose workspace is in its place. Nothing runs if its command could not be executed."""

    workspace: int
    running: Running | None
