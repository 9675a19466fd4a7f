"""Who may come in: tokens against commands, with a short memory of what the store said of a token (P17).

Pure, owned by the front door. It parks the callers of a token that must be looked up first, and every
one of them comes out again: let in, refused, or told to try later when the store does not answer.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TypeVar

from khala.bus.envelope import Envelope
from khala.core.access import ANYBODY, Identity, may, token_digest
from khala.core.commands import Caller, NotAvailable, Refused
from khala.core.instant import Instant

TOKEN_FOR_S = 10.0
"""A token that was taken away opens no door after this time."""
TOKENS_REMEMBERED = 10_000
PARKED_MOST = 10_000
ASK_AGAIN_S = 1.0
PARKED_FOR_S = 5.0
LATE = NotAvailable(detail="the store did not say in time whose token this is", outcome_unknown=False)

Answer = Refused | NotAvailable
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class LetIn:
    """The command may be carried out, as the wish of `who`."""

    who: Identity


@dataclass(frozen=True, slots=True)
class Parked:
    """The caller waits until the store said whose token it is; `ask` is the digest to look up, or
    empty when that is under way."""

    ask: str = ""


@dataclass(slots=True)
class _Question:
    since: float
    asked_at: float
    callers: list[Envelope] = field(default_factory=list)


class Doorkeeper:
    """`secured` is false on a cluster where nobody needs a token. Times are CLOCK_BOOTTIME, in seconds.

    Known and unknown tokens are remembered apart, so that a flood of guesses pushes nobody out.
    """

    def __init__(self, *, secured: bool) -> None:
        self._secured = secured
        self._known: OrderedDict[str, tuple[Identity, float]] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._questions: dict[str, _Question] = {}
        self._parked = 0

    def check(self, envelope: Envelope, now: float) -> LetIn | Parked | Answer:
        """What becomes of a caller whose envelope came by RPC."""
        command = type(envelope.payload)
        if not self._secured or may("", command):
            return LetIn(ANYBODY)
        caller = getattr(envelope.payload, "caller", None)
        if not isinstance(caller, Caller) or not caller.token:
            return Refused(code="unauthorized", detail="a token is needed: Authorization: Bearer …")
        digest = token_digest(caller.token)
        known = self._known.get(digest)
        if known is None or known[1] <= now:
            if self._unknown.get(digest, 0.0) > now:
                return Refused(code="unauthorized", detail="this token is not known, or no longer valid")
            return self._park(digest, envelope, now)
        who = known[0]
        if not may(who.role, command):
            return Refused(code="forbidden", detail=f"a token of the role {who.role} may not do this")
        return LetIn(who)

    def learn(self, digest: str, who: Identity | None, now: Instant) -> list[Envelope]:
        """The store knows whose a token is, or does not know it: whom to check again."""
        until = now.boot_s + TOKEN_FOR_S
        if who is None:
            self._known.pop(digest, None)
            _remember(self._unknown, digest, until)
        else:
            if who.expires_at is not None:
                until = min(until, now.boot_s + who.expires_at - now.unix_s)
            _remember(self._known, digest, (who, until))
        return self.release(digest)

    def forget(self) -> None:
        """Ask the store anew about every token."""
        self._known.clear()
        self._unknown.clear()

    def release(self, digest: str) -> list[Envelope]:
        """The callers who wait for this token, who wait no more."""
        question = self._questions.pop(digest, None)
        callers = question.callers if question is not None else []
        self._parked -= len(callers)
        return callers

    def ask_again(self, now: float) -> list[str]:
        """The digests whose question, or its answer, may have been lost."""
        late = [digest for digest, asked in self._questions.items() if now - asked.asked_at >= ASK_AGAIN_S]
        for digest in late:
            self._questions[digest].asked_at = now
        return late

    def overdue(self, now: float) -> list[Envelope]:
        """Those who have waited too long, and wait no more."""
        late = [digest for digest, asked in self._questions.items() if now - asked.since >= PARKED_FOR_S]
        return [envelope for digest in late for envelope in self.release(digest)]

    def parked(self) -> list[Envelope]:
        """All who wait."""
        return [envelope for question in self._questions.values() for envelope in question.callers]

    def _park(self, digest: str, envelope: Envelope, now: float) -> Parked | Answer:
        if self._parked >= PARKED_MOST:
            return NotAvailable(detail=f"{PARKED_MOST} callers wait for their token to be looked up")
        self._parked += 1
        question = self._questions.get(digest)
        if question is not None:
            question.callers.append(envelope)
            return Parked()
        self._questions[digest] = _Question(now, now, [envelope])
        return Parked(ask=digest)


def _remember(memory: OrderedDict[str, Value], digest: str, value: Value) -> None:
    memory[digest] = value
    memory.move_to_end(digest)
    while len(memory) > TOKENS_REMEMBERED:
        memory.popitem(last=False)
