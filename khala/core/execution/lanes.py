"""What a slot is given ahead: short attempts, which its launcher then runs one after the other without a word
in between. Pure.

Between two attempts a launcher would otherwise wait for the executor, and the executor wake up for each end.
Only what loses nothing by it is given ahead: an attempt that may be made again, was never made before, may
outlive the lease, and needs what the one before it needs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from khala.core.files import file_ids_of
from khala.core.output import phases_of
from khala.core.task import OnDisconnect, Outcome, TaskSpec
from khala.core.validation import inline_bytes

if TYPE_CHECKING:
    from khala.core.execution.holdings import Holding

AHEAD_S = 0.1
"""A slot is given about this many seconds of work ahead, at the pace of what ended last."""
MOST_AHEAD = 32
MOST_INLINE_BYTES = 1 << 16
"""An attempt that brings more with it is not given ahead: launchers are small."""


def is_plain(spec: TaskSpec) -> bool:
    """Can it be started, and its end be taken, without waiting for a stored file or a verdict?"""
    return spec.expected_output is None and not file_ids_of(spec)


@dataclass(slots=True)
class Lane:
    """One slot's attempts in the order in which they run: the first one does. `closed`: it has taken so long
    that the launcher gave those behind it back."""

    attempts: deque[Holding] = field(default_factory=deque)
    closed: bool = False

    def takes(self, holding: Holding) -> bool:
        """May this attempt wait here for those before it to end? Not for one that asks to start."""
        first, spec = self.attempts[0], holding.spec
        return (
            spec is not None
            and first.spec is not None
            and first.noted
            and spec.resources == first.spec.resources
            and spec.on_disconnect is not OnDisconnect.STOP
            and not holding.gated
            and holding.attempt == 1
            and is_plain(spec)
            and is_plain(first.spec)
            and inline_bytes(spec) <= MOST_INLINE_BYTES
        )


class Pace:
    """How long the attempts of an executor take, of late."""

    def __init__(self) -> None:
        self._mean_s = AHEAD_S

    def note(self, outcome: Outcome) -> None:
        """One ended like that."""
        began_s = min(began_at(outcome), default=None)
        took_s = AHEAD_S if began_s is None else max(0.0, outcome.finished_at - began_s)
        self._mean_s += (min(took_s, AHEAD_S) - self._mean_s) / 4

    @property
    def ahead(self) -> int:
        """How many attempts a slot is given ahead; 0 if they take long."""
        return min(MOST_AHEAD, int(AHEAD_S / max(self._mean_s, 1e-6)) - 1)


def began_at(outcome: Outcome) -> Iterator[float]:
    """When each phase of which it tells began (Unix seconds)."""
    return (part.started_at for _, part in phases_of(outcome.result))
