"""How much the front door has handed to other actors and not seen answered: the cap of P15.

Pure, owned by the front door. Inboxes have no bound of their own; while an actor blocks in the store,
this is what keeps its inbox from growing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cap:
    """What one actor may have before it: so many items (tasks, chunks, queries) and bytes."""

    items: int
    size_bytes: int


class Backlog:
    """Counts by actor. A count that was lost with a failed actor is forgotten with `reset`."""

    def __init__(self, caps: Mapping[str, Cap]) -> None:
        self._caps = caps
        self._items = dict.fromkeys(caps, 0)
        self._size_bytes = dict.fromkeys(caps, 0)

    def take(self, actor: str, items: int, size_bytes: int) -> bool:
        """Count in; False, and nothing counted, if that is too much. An idle actor takes anything."""
        cap = self._caps[actor]
        total, total_bytes = self._items[actor] + items, self._size_bytes[actor] + size_bytes
        if self._items[actor] and (total > cap.items or total_bytes > cap.size_bytes):
            return False
        self._items[actor], self._size_bytes[actor] = total, total_bytes
        return True

    def give_back(self, actor: str, items: int, size_bytes: int) -> None:
        """Count out what was answered, or could not be handed over."""
        self._items[actor] = max(0, self._items[actor] - items)
        self._size_bytes[actor] = max(0, self._size_bytes[actor] - size_bytes)

    def reset(self, actor: str) -> None:
        """The actor began anew, with nothing before it."""
        self._items[actor] = self._size_bytes[actor] = 0
