"""How fast an executor gets through its attempts, from which follows what it is given ahead. Pure.

By how long each took and how much of the executor it had, not by how many end in a second: that would say how
much it was given.
"""

from __future__ import annotations

from khala.core.messages import AttemptFinished
from khala.core.scheduling.ledger import ExecutorEntry
from khala.core.task import Demand

BETWEEN_S = 0.002
"""What an attempt takes of its slot besides its command, about."""
WEIGHT = 1 / 8
"""Of the newest attempt in the mean."""
MOST_S = 4.0
"""What takes longer counts as that: an executor that is so slow is given hardly anything ahead, and one that
is quick again must soon be known for it."""
QUIET_S = 1.0
"""An executor of which nothing has ended for longer is as slow as that."""


def note_end(executor: ExecutorEntry, demand: Demand, said: AttemptFinished, now: float) -> None:
    """One of its attempts has ended. `now` is the leader's CLOCK_BOOTTIME, in seconds."""
    room = executor.room
    took_s = max(0.0, said.outcome.finished_at - said.started_at) + BETWEEN_S
    share = max(
        1 / max(1, room.slots),
        demand.cpus / room.cpus if room.cpus else 0.0,
        demand.memory_bytes / room.memory_bytes if room.memory_bytes else 0.0,
    )
    each_s = min(took_s * share, MOST_S)
    executor.each_s += (each_s - executor.each_s) * (WEIGHT if executor.each_s else 1.0)
    room.pace_per_s = 1 / executor.each_s
    executor.quiet_since = now


def look(executor: ExecutorEntry, now: float) -> None:
    """Time has passed: what runs there may take longer than what ended."""
    room = executor.room
    quiet_s = now - executor.quiet_since
    if room.taken_slots and quiet_s > QUIET_S:
        room.pace_per_s = min(room.pace_per_s, room.slots / quiet_s)
