"""Starts a node's actors in order, starts a failed one again, gives up loudly, stops in reverse.

An actor whose loss the node cannot survive (`essential`) ends the node at once: whoever runs the
node starts it anew, and the durable parts bring it back. Others are started again after a back-off
that doubles; too many failures in a minute end the node too.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pykka
import structlog

from khala.core.instant import Instant

BACK_OFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)
GIVE_UP_AFTER = 8
GIVE_UP_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One part in the cast: its name, how to start it, and whether the node can live without it."""

    name: str
    start: Callable[[], pykka.ActorRef[Any]]
    essential: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """An actor failed, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class StartAgain:
    """The back-off of a failed actor is over."""

    name: str


class Supervisor(pykka.ThreadingActor):
    """The first actor of a node. `gave_up` is called at most once, with the reason."""

    use_daemon_thread = True

    def __init__(
        self,
        roles: Callable[[Callable[[str, str], None]], Sequence[Role]],
        *,
        clock: Callable[[], Instant],
        gave_up: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._make_roles = roles
        self._clock = clock
        self._gave_up = gave_up
        self._running: dict[str, pykka.ActorRef[Any]] = {}
        self._failures: dict[str, deque[float]] = {}
        self._roles: dict[str, Role] = {}
        self._ending = False
        self._log = structlog.get_logger().bind(actor="supervisor")

    def on_start(self) -> None:
        """Start the cast in order."""
        me = self.actor_ref

        def failed(name: str, reason: str) -> None:
            if me.is_alive():
                me.tell(Failed(name, reason))

        for role in self._make_roles(failed):
            self._roles[role.name] = role
            self._running[role.name] = role.start()

    def on_stop(self) -> None:
        """Stop the cast in reverse order, each within a few seconds."""
        self._ending = True
        for name in reversed(list(self._roles)):
            actor = self._running.pop(name, None)
            if actor is not None and actor.is_alive():
                try:
                    actor.stop(timeout=5.0)
                except pykka.Timeout:
                    self._log.error("actor did not stop in time", name=name)

    def on_receive(self, message: object) -> object:
        """Failed: decide. StartAgain: start. "restarts": how often each actor was started again."""
        if isinstance(message, Failed):
            self._handle_failed(message)
        elif isinstance(message, StartAgain) and not self._ending:
            self._running[message.name] = self._roles[message.name].start()
            self._log.info("actor started again", name=message.name)
        return None

    def _handle_failed(self, message: Failed) -> None:
        if self._ending:
            return
        role = self._roles[message.name]
        now = self._clock().boot_s
        failures = self._failures.setdefault(message.name, deque())
        failures.append(now)
        while failures[0] < now - GIVE_UP_WITHIN_S:
            failures.popleft()
        if role.essential or len(failures) >= GIVE_UP_AFTER:
            often = "" if role.essential else f" {len(failures)} times within a minute"
            self._gave_up(f"the actor {message.name} failed{often}: {message.reason}")
            return
        pause_s = BACK_OFF_S[min(len(failures), len(BACK_OFF_S)) - 1]
        timer = threading.Timer(pause_s, self._tell_again, args=(message.name,))
        timer.daemon = True
        timer.start()

    def _tell_again(self, name: str) -> None:
        if self.actor_ref.is_alive():
            self.actor_ref.tell(StartAgain(name))
