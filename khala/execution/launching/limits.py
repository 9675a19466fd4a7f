"""The bounds of one phase as the launcher keeps them. 0 is no limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseLimits:
    """Seconds, bytes and counts; see khala.core.task.Limits."""

    wall_time_s: float = 0.0
    cpu_time_s: float = 0.0
    memory_bytes: int = 0
    processes: int = 0
    open_files: int = 0
    file_size_bytes: int = 0
    output_bytes: int = 0
    disk_bytes: int = 0

    @classmethod
    def read(cls, header: dict[str, Any]) -> PhaseLimits:
        """Out of a job's frame."""
        return cls(**header)

    @property
    def largest_file_bytes(self) -> int:
        """No single file can be larger, for it may be neither too large itself nor fill the disk."""
        bounds = [bound for bound in (self.file_size_bytes, self.disk_bytes) if bound]
        return min(bounds, default=0)
