"""A judicator's own numbers, and the callers who wait for the leader's. Pure, owned by the front door."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from khala.bus.envelope import Envelope
from khala.bus.interface import BusStats
from khala.core.operations import Sample

LEADER_ANSWERS_WITHIN_S = 2.0
_COUNTED = (
    "sent", "received", "delivered", "relayed", "dead_letters", "outbox_refused", "expired", "malformed",
    "refused_hellos", "rpc_calls", "rpc_refused",
)  # fmt: skip
_STANDING = ("connections", "queued_envelopes", "queued_bytes")


def bus_samples(node: str, stats: BusStats) -> Iterator[Sample]:
    """The bus of this node: what it counted, and what waits in its outboxes."""
    for name in _COUNTED:
        labels = {"node": node}
        yield Sample(name=f"khala_bus_{name}_total", labels=labels, value=float(getattr(stats, name)))
    for name in _STANDING:
        yield Sample(name=f"khala_bus_{name}", labels={"node": node}, value=float(getattr(stats, name)))


def leadership_samples(node: str, *, leads: bool, elections: int) -> Iterator[Sample]:
    """Whether this node leads, and how many elections it has seen since it started."""
    labels = {"node": node}
    yield Sample(name="khala_leads", labels=labels, value=float(leads))
    yield Sample(name="khala_elections_total", labels=labels, value=float(elections))


class MetricsQuestions:
    """Those who asked for metrics; the leader is asked once for all of them. Times are CLOCK_BOOTTIME."""

    def __init__(self) -> None:
        self._asked: list[tuple[float, Envelope]] = []

    def ask(self, envelope: Envelope, now: float) -> bool:
        """Let a caller wait; True if the leader is to be asked."""
        self._asked.append((now, envelope))
        return len(self._asked) == 1

    def overdue(self, now: float) -> bool:
        """Has the leader not answered in time?"""
        return bool(self._asked) and now - self._asked[0][0] > LEADER_ANSWERS_WITHIN_S

    def waiting(self) -> Sequence[Envelope]:
        """All who wait."""
        return [envelope for _, envelope in self._asked]

    def end(self) -> Sequence[Envelope]:
        """All who wait, who wait no more."""
        waiting = self.waiting()
        self._asked = []
        return waiting
