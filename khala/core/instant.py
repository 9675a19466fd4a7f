"""A reading of both clocks, taken once by the caller and passed to every decision."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instant:
    """`boot_s`: CLOCK_BOOTTIME in seconds, for durations. `unix_s`: Unix time, for the record."""

    boot_s: float
    unix_s: float
