"""Who comes in at a judicator, and how much is handed on at a time: what happens to every command.

A command is authorised, narrowed to what its caller reaches (P17), and put on record; the actor that it is
handed to answers the caller. What could not be handed on, or is too much for now (P15), is answered here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from khala.actors.actor import NodeActor, Stage
from khala.actors.backlog import Backlog, Cap
from khala.actors.doorkeeper import Doorkeeper, LetIn, Parked
from khala.actors.messages import (
    AccountsChanged,
    AskAccounts,
    Began,
    CallsAnswered,
    CheckFinished,
    CheckToken,
    NoteAction,
    TokenChecked,
)
from khala.bus.envelope import RPC, Envelope, node_of
from khala.core.access import ANYBODY, COMMANDS, scoped
from khala.core.commands import NotAvailable, Refused
from khala.errors import Refusal

READERS = ("reader-1", "reader-2")
CAPS = {
    "submissions": Cap(items=20_000, size_bytes=64 << 20),
    "uploads": Cap(items=128, size_bytes=128 << 20),
    "accounts": Cap(items=1_000, size_bytes=1 << 20),
    "jobs": Cap(items=200, size_bytes=64 << 20),
    "outputs": Cap(items=5_000, size_bytes=64 << 20),
    "followers": Cap(items=5_000, size_bytes=1 << 30),
} | dict.fromkeys(READERS, Cap(items=5_000, size_bytes=1 << 30))


class FrontDoor(NodeActor):
    """`secured` is false on a cluster without a secret, where nobody needs a token."""

    open_to_nodes = True

    def __init__(self, stage: Stage, *, secured: bool) -> None:
        super().__init__(stage, "judicator")
        self._door = Doorkeeper(secured=secured)
        self._backlog = Backlog(CAPS)
        self._next_reader = 0
        self._who = ANYBODY

    # --- authorisation ---------------------------------------------------------------------------

    def on_receive(self, message: object) -> None:
        """Commands come by RPC and pass the doorkeeper; everything else comes from the cluster's actors."""
        if isinstance(message, Envelope) and type(message.payload) in COMMANDS:
            message = self._admit(message)
        if message is not None:
            super().on_receive(message)

    def _admit(self, envelope: Envelope) -> Envelope | None:
        """The envelope, narrowed to what its caller (`_who` from now on) reaches; None if not let in."""
        if node_of(envelope.sender) != RPC:
            self.log.warning("a command that did not come by RPC", sender=envelope.sender)
            return None
        verdict = self._door.check(envelope, self.now().boot_s)
        if isinstance(verdict, Parked):
            if verdict.ask:
                self._ask_reader(CheckToken(verdict.ask))
            return None
        if not isinstance(verdict, LetIn):
            self.reply(envelope, verdict)
            return None
        self._who = verdict.who
        try:
            return replace(envelope, payload=scoped(envelope.payload, verdict.who))
        except Refusal as why:
            self._refuse(envelope, why.code, why.detail, why.field)
            return None

    def handle_token_checked(self, checked: TokenChecked, envelope: Envelope) -> None:
        """The store knows, or does not know, a token: go on with those who showed it."""
        if checked.failed:
            for parked in self._door.release(checked.digest):
                self.reply(parked, NotAvailable(detail=checked.failed))
        else:
            for parked in self._door.learn(checked.digest, checked.who, self.now()):
                self.actor_ref.tell(parked)

    def handle_accounts_changed(self, changed: AccountsChanged, envelope: Envelope) -> None:
        """A user or a token is not what it was."""
        self._door.forget()

    def _note(self, action: str, target: str, detail: str = "") -> None:
        """Put on record what the caller was let in to do."""
        self.tell("accounts", NoteAction(self._who, action, target, detail))

    @contextlib.contextmanager
    def _refusing(self, envelope: Envelope) -> Iterator[None]:
        """Answer with the Refusal that the block may raise."""
        try:
            yield
        except Refusal as why:
            self._refuse(envelope, why.code, why.detail, why.field)

    def _refuse(self, envelope: Envelope, code: str, detail: str, field: str = "") -> None:
        self.reply(envelope, Refused(code=code, detail=detail, field=field))

    # --- handing on ------------------------------------------------------------------------------

    def _hand_on(
        self,
        actor: str,
        message: object,
        envelope: Envelope,
        *,
        items: int = 1,
        size_bytes: int = 0,
        instead: str = "",
    ) -> None:
        """Give a caller to another actor of this node, or to the one `instead`; it answers in our place."""
        if not self._backlog.take(actor, items, size_bytes):
            busy = f"{self.stage.node} has as much to do as it takes at a time ({actor})"
            self.reply(envelope, NotAvailable(detail=busy, retry_after_s=1.0))
            return
        destination = f"{self.stage.node}/{actor}"
        if not self.stage.bus.send(destination, message, sender=envelope.sender, cause=envelope.id):
            self._backlog.give_back(actor, items, size_bytes)
            if instead:
                self._hand_on(instead, message, envelope, items=items, size_bytes=size_bytes)
                return
            self.reply(envelope, NotAvailable(detail=f"{actor} is being started again", retry_after_s=0.5))

    def handle_calls_answered(self, answered: CallsAnswered, envelope: Envelope) -> None:
        """There is room again."""
        self._backlog.give_back(answered.actor, answered.items, answered.size_bytes)

    def handle_began(self, began: Began, envelope: Envelope) -> None:
        """An actor began with an empty inbox."""
        self._backlog.reset(began.actor)

    def _reader(self) -> str:
        self._next_reader = (self._next_reader + 1) % len(READERS)
        return READERS[self._next_reader]

    def _ask_reader(self, question: CheckToken | CheckFinished) -> None:
        """Ask one reader, or another if that one is not up; a lost question is asked again by the clock."""
        if not self.tell(self._reader(), question):
            self.tell(self._reader(), question)

    # --- people ----------------------------------------------------------------------------------

    def _ask_accounts(self, command: object, envelope: Envelope) -> None:
        self._hand_on("accounts", AskAccounts(self._who, envelope), envelope)

    handle_get_me = handle_put_user = handle_list_users = handle_delete_user = _ask_accounts
    handle_create_token = handle_list_tokens = handle_revoke_token = handle_list_audit = _ask_accounts
