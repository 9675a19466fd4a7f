"""The ends of attempts that are to be told: at once where nothing else waits, and together where short
tasks run one after the other.

Each message costs the bus, the leader and the store the same whatever is in it. While others wait here an end
may come a moment later; whoever drives it looks again with every event and tick. The executor's thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from khala.core.effects import Effect, Journal, Send
from khala.core.journal import Fact, JournalRecord
from khala.core.messages import AttemptFinished

EVERY_S = 0.1
"""How long an end waits for others, but for the time until the next event or tick."""


class Endings:
    """`send` gets an address and a message."""

    def __init__(self, send: Callable[[str, object], object]) -> None:
        self._send = send
        self._waiting: list[Send] = []
        self._told_at = float("-inf")

    def add(self, end: Send) -> None:
        """Have this one told by the next `tell` that is due."""
        self._waiting.append(end)

    def is_time(self, now: float, *, busy: bool) -> bool:
        """May an end be told, or does it wait for others?"""
        return not busy or now - self._told_at >= EVERY_S

    def tell(self, now: float, *, busy: bool) -> None:
        """Tell all that wait, unless others were told just now and the executor is `busy`; `now` is in
        seconds."""
        if self._waiting and self.is_time(now, busy=busy):
            waiting, self._waiting = self._waiting, []
            self._told_at = now
            for end in waiting:
                self._send(end.destination, end.message)


class Hurry(IntEnum):
    """When the effects at hand are to be performed."""

    NONE = 0
    FOR_ENDS = 1
    """When ends are told."""
    NOW = 2


def hurry_of(effect: Effect) -> Hurry:
    """Is it as good on disk a little later? An outcome that is settled twice is settled once; and an
    end need not be there before it is told, if it is told later."""
    match effect:
        case Journal(JournalRecord(fact=Fact.SETTLED)):
            return Hurry.NONE
        case Journal(JournalRecord(fact=Fact.END)) | Send(_, AttemptFinished()):
            return Hurry.FOR_ENDS
    return Hurry.NOW
