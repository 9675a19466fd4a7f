"""The mailboxes of one node's actors. Any thread may register and deliver."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from khala.bus.envelope import Envelope
from khala.bus.interface import Deliver


class Mailboxes:
    """Actors by name. What a mailbox raises is logged and counted by `on_error`, and goes no further."""

    def __init__(self, *, on_error: Callable[[], object]) -> None:
        self._mailboxes: dict[str, Deliver] = {}
        self._on_error = on_error
        self._log = structlog.get_logger("khala.bus")

    def register(self, actor: str, deliver: Deliver) -> None:
        """Give `actor` a mailbox."""
        self._mailboxes[actor] = deliver

    def unregister(self, actor: str) -> None:
        """Take it away."""
        self._mailboxes.pop(actor, None)

    def deliver(self, actor: str, envelope: Envelope) -> bool:
        """Hand over; False when there is no such actor, or its mailbox failed."""
        mailbox = self._mailboxes.get(actor)
        if mailbox is None:
            return False
        try:
            mailbox(envelope)
        except Exception:  # noqa: BLE001 - whatever an actor's mailbox raises stays here
            self._log.exception("a mailbox failed", actor=actor, payload=type(envelope.payload).__name__)
            self._on_error()
            return False
        return True
