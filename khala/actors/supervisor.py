"""Starts a node's actors in order, starts a failed one again, gives up loudly, stops in reverse.

An actor whose loss the node cannot survive (`essential`) ends the node at once: whoever runs the
node starts it anew, and the durable parts bring it back. Others are started again after a back-off
that doubles; too many failures of one in a minute end the node too. It blocks only while an actor
that it starts begins, and while it stops them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import pykka
import structlog

from khala.actors.messages import AreYouUp
from khala.core.instant import Instant

BACK_OFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)
GIVE_UP_AFTER = 8
GIVE_UP_WITHIN_S = 60.0
UP_WITHIN_S = 10.0
STOP_WITHIN_S = 20.0
STOP_EACH_WITHIN_S = 5.0


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
    """The first actor of a node. `gave_up` is called at most once, with the reason, from its thread."""

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
        self._timers: dict[str, threading.Timer] = {}
        self._roles: dict[str, Role] = {}
        self._ending = False
        self._log = structlog.get_logger().bind(actor="supervisor")

    def on_start(self) -> None:
        """Start the cast in order, each when the one before is up."""
        try:
            for role in self._make_roles(self._report):
                self._roles[role.name] = role
                self._start(role)
        except Exception as why:
            self._give_up(f"the node's actors cannot be started: {type(why).__name__}: {why}")
            self._stop_all()
            raise

    def on_stop(self) -> None:
        """Stop the cast in reverse order."""
        self._stop_all()

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nobody supervises the supervisor: the node ends."""
        self._give_up(f"the supervisor failed: {getattr(exception_type, '__name__', '?')}: {exception_value}")
        self._stop_all()

    def on_receive(self, message: object) -> None:
        """Failed: decide. StartAgain: start."""
        if self._ending:
            return
        if isinstance(message, Failed):
            self._handle_failed(message)
        elif isinstance(message, StartAgain):
            self._timers.pop(message.name, None)
            self._log.warning("actor is started again", name=message.name)
            self._start(self._roles[message.name])

    def _report(self, name: str, reason: str) -> None:
        """What a failing actor calls, in its own thread."""
        self._tell_me(Failed(name, reason))

    def _tell_me(self, message: object) -> None:
        with contextlib.suppress(pykka.ActorDeadError):  # the node is ending
            self.actor_ref.tell(message)

    def _start(self, role: Role) -> None:
        """Start one and wait until it is up; if it fails at once, it says so itself."""
        actor = self._running[role.name] = role.start()
        with contextlib.suppress(pykka.ActorDeadError):
            try:
                actor.ask(AreYouUp(), timeout=UP_WITHIN_S)
            except pykka.Timeout:
                self._log.error("actor is not up yet", name=role.name, waited_s=UP_WITHIN_S)

    def _handle_failed(self, message: Failed) -> None:
        role = self._roles[message.name]
        now = self._clock().boot_s
        failures = self._failures.setdefault(message.name, deque())
        failures.append(now)
        while failures[0] < now - GIVE_UP_WITHIN_S:
            failures.popleft()
        if role.essential or len(failures) >= GIVE_UP_AFTER:
            often = "" if role.essential else f" {len(failures)} times within a minute"
            self._give_up(f"the actor {message.name} failed{often}: {message.reason}")
            return
        pause_s = BACK_OFF_S[min(len(failures), len(BACK_OFF_S)) - 1]
        self._log.warning("actor failed", name=message.name, reason=message.reason, again_in_s=pause_s)
        timer = threading.Timer(pause_s, self._tell_me, args=(StartAgain(message.name),))
        timer.daemon = True
        self._timers[message.name] = timer
        timer.start()

    def _give_up(self, reason: str) -> None:
        if not self._ending:
            self._ending = True
            self._log.error("gave up", reason=reason)
            self._gave_up(reason)

    def _stop_all(self) -> None:
        """Stop what runs, the latest first: each has some seconds, and all together not many more."""
        self._ending = True
        for timer in self._timers.values():
            timer.cancel()
        until = time.monotonic() + STOP_WITHIN_S
        for name in reversed(list(self._running)):
            actor = self._running.pop(name)
            within_s = max(0.1, min(STOP_EACH_WITHIN_S, until - time.monotonic()))
            try:
                actor.stop(timeout=within_s)
            except pykka.Timeout:
                self._log.error("actor did not stop in time", name=name, waited_s=within_s)
