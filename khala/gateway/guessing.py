"""Keeps those who guess tokens from guessing fast. Pure but for its clock; one for each worker.

Each address may fail so often, and one time more after each pause; then it is refused without asking the
cluster. A token that a judicator has just let in passes all the same, so that a neighbour behind the same
address is not locked out. Memory is bounded: the longest unseen are forgotten.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from khala.core.access import token_digest
from khala.errors import Refusal

FAILURE_EVERY_S = 3.0
PROVEN_FOR_S = 600.0
REMEMBERED = 10_000


class Guesses:
    """`at_once` is how often an address may fail at once; `clock` is in seconds and never goes back."""

    def __init__(self, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_once = at_once
        self._clock = clock
        self._free_at: OrderedDict[str, float] = OrderedDict()
        self._proven: OrderedDict[str, float] = OrderedDict()

    def check(self, address: str, token: str) -> None:
        """Raise Refusal `too_many_requests` for one who has failed too often."""
        now = self._clock()
        # The time at which all failures will be forgiven says how many there are.
        owed = self._free_at.get(_place(address), now) - now
        if owed <= (self._at_once - 1) * FAILURE_EVERY_S:
            return
        if self._proven.get(token_digest(token), now) <= now:
            raise Refusal(
                "too many wrong tokens from this address: wait before the next try", code="too_many_requests"
            )

    def failed(self, address: str) -> None:
        """A token from this address was not known."""
        now, place = self._clock(), _place(address)
        _remember(self._free_at, place, max(now, self._free_at.get(place, now)) + FAILURE_EVERY_S)

    def proved(self, token: str) -> None:
        """A judicator has let this token in."""
        _remember(self._proven, token_digest(token), self._clock() + PROVEN_FOR_S)


def _place(address: str) -> str:
    """Whose address it is: with IPv6 whoever has one has its whole /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


def _remember(memory: OrderedDict[str, float], key: str, value: float) -> None:
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > REMEMBERED:
        memory.popitem(last=False)
