"""What every actor of a node is: named, reachable by the bus, and supervised.

An actor runs in its own thread (pykka) and is spoken to only by envelopes. A message of type
`SomeThing` goes to `handle_some_thing(message, envelope)`. An exception that a handler lets out is a
fault: callers are told, then the supervisor, and the actor is started anew or the node ends. An
actor must not wait for another actor's answer.
"""

from __future__ import annotations

import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar

import pykka
import structlog

from khala.actors.messages import AreYouUp, LookIntoMail, Tick
from khala.bus.envelope import RPC, Envelope, node_of
from khala.bus.interface import Bus
from khala.core.commands import NotAvailable, Refused
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
    """The base of the cast.

    Unless `open_to_nodes`, it takes nothing from other nodes: what clients may do is decided at the
    front door, and must not be had by another way in.
    """

    use_daemon_thread = True
    open_to_nodes: ClassVar[bool] = False

    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__()
        self.stage = stage
        self.name = name
        self.log = structlog.get_logger().bind(node=stage.node, actor=name)
        self._handlers: dict[type, Callable[[Any, Envelope], None]] = {}
        self._in_hand: Envelope | None = None
        self._tick_waits = False
        self._mail: deque[Envelope] = deque()
        self._mail_lock = threading.Lock()
        self._rung = False
        self._takes_no_more = False

    # --- for the subclass ------------------------------------------------------------------------

    def begin(self) -> None:
        """What an actor does first; by default it waits for its first message."""

    def callers(self) -> Iterable[Envelope]:
        """The clients' envelopes that it keeps and has yet to answer, besides the one in hand."""
        return ()

    def end(self) -> None:
        """What an actor does last, also after a fault."""

    def send(self, destination: str, message: object, *, cause: str = "") -> bool:
        """Send to an address of the bus; False if it could not even be queued."""
        return self.stage.bus.send(destination, message, sender=self.address, cause=cause)

    def tell(self, actor: str, message: object) -> bool:
        """Send to another actor of this node; False if it is not up."""
        return self.send(f"{self.stage.node}/{actor}", message)

    def reply(self, envelope: Envelope, answer: object) -> None:
        """Answer whoever sent `envelope`."""
        self.stage.bus.reply(envelope, answer)

    @property
    def address(self) -> str:
        """This actor's own address."""
        return f"{self.stage.node}/{self.name}"

    def now(self) -> Instant:
        """Both clocks, read once."""
        return self.stage.clock()

    # --- pykka's life of an actor ----------------------------------------------------------------

    def on_start(self) -> None:
        """Become reachable, then `begin`. pykka itself would tell nobody of a fault in here."""
        self.stage.bus.register(self.name, self._deliver)
        try:
            self.begin()
        except Exception:
            self.on_failure(*sys.exc_info())
            raise

    def on_receive(self, message: Any) -> None:
        """Dispatch one envelope by the type of its payload."""
        if isinstance(message, LookIntoMail):
            self._take_mail()
            return
        if isinstance(message, AreYouUp):
            return
        if not self.open_to_nodes and node_of(message.sender) not in (self.stage.node, RPC):
            kind = type(message.payload).__name__
            self.log.warning("not for other nodes", kind=kind, sender=message.sender)
            return
        self._in_hand = message
        handler = self._handler(type(message.payload))
        if handler is None:
            kind = type(message.payload).__name__
            self.log.warning("message not understood", kind=kind, sender=message.sender)
            if node_of(message.sender) == RPC:
                self.reply(message, Refused(code="invalid", detail=f"{self.name} does not take {kind}"))
        else:
            handler(message.payload, message)
        self._in_hand = None

    def on_stop(self) -> None:
        """Become unreachable, let waiting callers go, then `end`."""
        try:
            self._leave(f"{self.name} of {self.stage.node} is stopping")
        finally:
            self.end()

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the callers go and tell the supervisor; pykka skips on_stop."""
        self.log.error("actor failed", exc_info=(exception_type, exception_value, traceback))
        try:
            self._leave(f"{self.name} of {self.stage.node} failed and is started again")
            self.end()
        finally:
            self.stage.failed(self.name, f"{getattr(exception_type, '__name__', '?')}: {exception_value}")

    # --- within ----------------------------------------------------------------------------------

    def _deliver(self, envelope: Envelope) -> None:
        """The mailbox, in the sender's thread. At most one tick waits in it, however slow the actor.

        What comes while the actor has yet to look wakes it only once: of a thousand outcomes that arrive
        together each would otherwise cost a lock, a wake-up and a turn of pykka's loop.
        """
        with self._mail_lock:
            if self._takes_no_more:
                raise pykka.ActorDeadError(f"{self.name} of {self.stage.node} takes no more")
            if isinstance(envelope.payload, Tick):
                if self._tick_waits:
                    return
                self._tick_waits = True
            self._mail.append(envelope)
            if self._rung:
                return
            self._rung = True
        self.actor_ref.tell(LookIntoMail())

    def _take_mail(self) -> None:
        """Handle what lies in the mailbox now; what comes meanwhile rings again."""
        with self._mail_lock:
            self._rung = False
            count = len(self._mail)
        try:
            for _ in range(count):
                self.on_receive(self._mail.popleft())
        except BaseException:
            self._takes_no_more = True  # at once: what is sent from now on may go elsewhere
            raise

    def _handler(self, kind: type) -> Callable[[Any, Envelope], None] | None:
        if kind is Tick:
            self._tick_waits = False
        handler = self._handlers.get(kind)
        if handler is None:
            handler = getattr(self, handler_name(kind), None)
            if handler is not None:
                self._handlers[kind] = handler
        return handler

    def _leave(self, why: str) -> None:
        """Answer whoever would otherwise wait for nothing: what is in hand may have been done, what
        still was in the inbox was not."""
        self.stage.bus.unregister(self.name)
        in_hand = caller_of(self._in_hand) if self._in_hand is not None else None
        for envelope in [*([in_hand] if in_hand is not None else []), *self.callers()]:
            self.reply(envelope, NotAvailable(detail=why, outcome_unknown=True))
        with self._mail_lock:
            self._takes_no_more = True
        asked = []
        unread = list(self._mail)
        while not self.actor_inbox.empty():
            queued = self.actor_inbox.get()
            if queued.reply_to is not None:
                asked.append(queued)
            elif isinstance(queued.message, Envelope):
                unread.append(queued.message)
        for caller in filter(None, map(caller_of, unread)):
            self.reply(caller, NotAvailable(detail=why))
        for queued in asked:
            self.actor_inbox.put(queued)  # pykka answers these itself


def caller_of(envelope: Envelope) -> Envelope | None:
    """The client's envelope that this one is, or that it carries to another actor of the node."""
    if node_of(envelope.sender) == RPC:
        return envelope
    carried = getattr(envelope.payload, "envelope", None)
    return carried if isinstance(carried, Envelope) else None


def handler_name(kind: type) -> str:
    """`handle_` and the message's name in snake case."""
    return "handle_" + re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
