"""One simulated process: it may be killed, started again, stopped (as SIGSTOP does) and continued.

What a node does later goes through `post`: it is dropped when the process was killed meanwhile, and
waits in order while the process is stopped, so that a stopped node finishes what it had decided.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from khala.core.instant import Instant

if TYPE_CHECKING:
    from simulation.world import World

CLOCK_ERROR = 0.002
"""A node's clock runs at most this much faster or slower than the world's."""


class Node:
    """A process by name; subclasses give it a life with `wake` and `receive`."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.clockwork = world.clockwork
        self.name = name
        self.up = False
        self.paused = False
        self.gone = False
        self.life = 0
        self.rate = world.clockwork.between(1 - CLOCK_ERROR, 1 + CLOCK_ERROR)
        self._stalled: list[tuple[int, Callable[..., None], tuple[Any, ...]]] = []

    def wake(self) -> None:
        """The process begins."""

    def died(self) -> None:
        """The process is gone; what it only held in memory is gone too."""

    def receive(self, sender: str, message: object) -> None:
        """A message came in."""

    def clock_s(self) -> float:
        """This node's own CLOCK_BOOTTIME."""
        return self.clockwork.now_s * self.rate

    def at(self) -> Instant:
        """Both clocks of this node."""
        return Instant(self.clockwork.now_s * self.rate, self.clockwork.now_s)

    def post(self, delay_s: float, action: Callable[..., None], *args: Any) -> None:
        """Do something later, in this life of the process."""
        if delay_s == 0.0:
            self._run(self.life, action, args)
        else:
            self.clockwork.after(delay_s, self._run, self.life, action, args)

    def send(self, receiver: str, message: object) -> None:
        """Send a message to another node."""
        self.world.network.send(self.name, receiver, message)

    def boot(self) -> None:
        """Start the process, if it does not run and is not `gone` for good."""
        if not self.up and not self.gone:
            self.world.story("{} boots", self.name)
            self.up, self.paused = True, False
            self.life += 1
            self.wake()

    def crash(self) -> None:
        """kill -9."""
        if self.up:
            self.world.story("{} CRASHES", self.name)
            self.up, self.paused = False, False
            self.life += 1
            self._stalled.clear()
            self.died()

    def pause(self) -> None:
        """SIGSTOP."""
        if self.up:
            self.world.story("{} is STOPPED", self.name)
            self.paused = True

    def resume(self) -> None:
        """SIGCONT: whatever waited happens now, in its order."""
        if self.up and self.paused:
            self.world.story("{} goes on", self.name)
            self.paused = False
            stalled, self._stalled = self._stalled, []
            for life, action, args in stalled:
                self._run(life, action, args)

    def _run(self, life: int, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        if life != self.life or not self.up:
            return
        if self.paused:
            self._stalled.append((life, action, args))
        else:
            action(*args)
