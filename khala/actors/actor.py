"""What every actor of a node is: named, reachable by the bus, and supervised.

An actor runs in its own thread (pykka) and is spoken to only by envelopes. A message of type
`SomeThing` goes to `handle_some_thing(message, envelope)`. An exception that a handler lets out is a
fault: the supervisor is told, and the actor is started anew or the node ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import pykka
import structlog

from khala.bus.envelope import Envelope
from khala.bus.interface import Bus
from khala.core.instant import Instant

Report = Callable[[str, str], None]
"""Tell the supervisor that the actor of this name failed, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What every actor of a node shares. `failed` must not block and is thread-safe."""

    node: str
    bus: Bus
    clock: Callable[[], Instant]
    failed: Report


class NodeActor(pykka.ThreadingActor):
    """The base of the cast."""

    use_daemon_thread = True

    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__()
        self.stage = stage
        self.name = name
        self.log = structlog.get_logger().bind(node=stage.node, actor=name)
        self._handlers: dict[type, Callable[[Any, Envelope], None]] = {}

    def on_start(self) -> None:
        """Become reachable, then `begin`."""
        self.stage.bus.register(self.name, self.actor_ref.tell)
        self.begin()

    def begin(self) -> None:
        """What an actor does first; by default it waits for its first message."""

    def end(self) -> None:
        """What an actor does last, also after a fault."""

    def on_stop(self) -> None:
        """Become unreachable, then `end`."""
        self.stage.bus.unregister(self.name)
        self.end()

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell the supervisor; pykka has stopped this actor already and skips on_stop."""
        self.log.error("actor failed", exc_info=(exception_type, exception_value, traceback))
        self.on_stop()
        self.stage.failed(self.name, f"{getattr(exception_type, '__name__', '?')}: {exception_value}")

    def on_receive(self, message: Any) -> None:
        """Dispatch one envelope by the type of its payload."""
        kind = type(message.payload)
        handler = self._handlers.get(kind)
        if handler is None:
            handler = getattr(self, handler_name(kind), None)
            if handler is None:
                self.log.warning("message not understood", kind=kind.__name__, sender=message.sender)
                return
            self._handlers[kind] = handler
        handler(message.payload, message)

    def send(self, destination: str, message: object, *, cause: str = "") -> bool:
        """Send to an address of the bus; False if it could not even be queued."""
        return self.stage.bus.send(destination, message, sender=self.address, cause=cause)

    def tell(self, actor: str, message: object) -> bool:
        """Send to another actor of this node."""
        return self.send(f"{self.stage.node}/{actor}", message)

    @property
    def address(self) -> str:
        """This actor's own address."""
        return f"{self.stage.node}/{self.name}"

    def now(self) -> Instant:
        """Both clocks, read once."""
        return self.stage.clock()


def handler_name(kind: type) -> str:
    """`handle_` and the message's name in snake case."""
    return "handle_" + re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
