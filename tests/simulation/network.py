"""Messages between nodes: lost, late, doubled, out of order, or cut off, as the faults say.

Nothing makes a late message invalid: what waited in the buffers of a stopped node arrives when it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulation.clockwork import Clockwork

if TYPE_CHECKING:
    from simulation.node import Node

Story = Callable[..., None]


@dataclass(slots=True)
class Weather:
    """How bad the network is now; each is a probability a message, `late_s` the longest delay."""

    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    late_s: float = 0.0


@dataclass(slots=True)
class Network:
    """All links between nodes by name; `etcd` and `store` are names like any other."""

    clockwork: Clockwork
    story: Story
    happened: Callable[[str], None]
    weather: Weather = field(default_factory=Weather)
    nodes: dict[str, Node] = field(default_factory=dict)
    _cut: dict[tuple[str, str], int] = field(default_factory=dict)

    def send(self, sender: str, receiver: str, message: object) -> None:
        """Send once; what becomes of it is the weather's choice. There is always a little delay."""
        weather, clockwork = self.weather, self.clockwork
        if clockwork.chance(weather.drop):
            self.happened("message dropped")
            self.story("{} -> {} DROPPED {}", sender, receiver, message)
            return
        copies = 1
        if clockwork.chance(weather.duplicate):
            self.happened("message doubled")
            copies = 2
        for _ in range(copies):
            delay_s = clockwork.between(0.001, 0.004)
            if clockwork.chance(weather.delay):
                self.happened("message delayed")
                delay_s = clockwork.between(0.01, weather.late_s)
            clockwork.after(delay_s, self._arrive, sender, receiver, message)

    def reaches(self, sender: str, receiver: str) -> bool:
        """Is the way open in this direction?"""
        return (sender, receiver) not in self._cut

    def cut(self, links: Iterable[tuple[str, str]]) -> None:
        """Close these ways, each in its one direction; cutting counts."""
        for link in links:
            self._cut[link] = self._cut.get(link, 0) + 1

    def mend(self, links: Iterable[tuple[str, str]]) -> None:
        """Undo one `cut` of the same links."""
        for link in links:
            left = self._cut.get(link, 0) - 1
            if left > 0:
                self._cut[link] = left
            else:
                self._cut.pop(link, None)

    def heal(self) -> None:
        """All ways are open and the weather is good."""
        self._cut.clear()
        self.weather = Weather()

    def _arrive(self, sender: str, receiver: str, message: object) -> None:
        if not self.reaches(sender, receiver):
            self.happened("message cut off")
            return
        node = self.nodes[receiver]
        node.post(0.0, self._take, node, sender, message)

    def _take(self, node: Node, sender: str, message: object) -> None:
        self.story("{} -> {} {}", sender, node.name, message)
        node.receive(sender, message)
