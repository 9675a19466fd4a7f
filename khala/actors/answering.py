"""The replies that carry an error to the client that asked."""

from __future__ import annotations

from khala.core.commands import NotAvailable, Refused
from khala.errors import OutcomeUnknown, Refusal, Unavailable


def reply_of(why: Refusal | Unavailable) -> Refused | NotAvailable:
    """What a client is answered whose call failed so."""
    return refused(why) if isinstance(why, Refusal) else not_available(why)


def refused(why: Refusal) -> Refused:
    """The reply that carries a Refusal."""
    return Refused(code=why.code, detail=why.detail, field=why.field)


def not_available(why: Unavailable) -> NotAvailable:
    """The reply that carries an Unavailable or OutcomeUnknown."""
    return NotAvailable(
        detail=why.detail,
        retry_after_s=why.retry_after_s,
        outcome_unknown=isinstance(why, OutcomeUnknown),
    )
