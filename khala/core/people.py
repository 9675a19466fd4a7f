"""Who uses a cluster: users, their tokens and quotas, and the record of who did what.

The part of the RPC service `Judicator` that is about people. Tokens travel and are stored only as the
SHA-256 of their text; whoever makes one shows it once.
"""

from __future__ import annotations

from dataclasses import dataclass

from khala.core.commands import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a user may have at a time: waiting tasks, running tasks, bytes of uploaded files. None: any."""

    queued: int | None = None
    running: int | None = None
    stored_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a user has now, in the terms of a Quota."""

    queued: int = 0
    running: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UserView:
    """A user; `role` is admin, user or viewer. `usage` is None where it was not asked for."""

    name: str
    role: str
    created_at: float = 0.0
    quota: Quota = Quota()
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """A token, known by `id`; nothing here opens a door. Times are Unix seconds, `last_used_at` to the
    minute. A `session` was made by a login, with the token `parent`, and ends with it."""

    id: str
    name: str
    user: str
    created_at: float = 0.0
    expires_at: float | None = None
    last_used_at: float | None = None
    session: bool = False
    parent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetMe:
    """Who am I?"""

    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """The caller, with quota and usage, and the token that was shown; both empty on an open cluster."""

    user: UserView
    token: TokenView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PutUser:
    """Make a user, or change one: an empty `role` and a `quota` of None stay as they are.

    With `create_only`, a user who exists and differs is a conflict.
    """

    name: str
    role: str = ""
    quota: Quota | None = None
    create_only: bool = False
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUsers:
    """All users, or only the one of this name, with their usage."""

    name: str = ""
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteUser:
    """Take a user and all their tokens away; their tasks stay."""

    name: str
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class UserViews:
    """The answer to PutUser, ListUsers and DeleteUser, by name."""

    users: tuple[UserView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateToken:
    """Let the token of this digest stand for `user` (empty: the caller) until `expires_at`."""

    digest: str
    name: str
    user: str = ""
    expires_at: float | None = None
    session: bool = False
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTokens:
    """The tokens of `owner`, or of everybody (None)."""

    owner: str | None = None
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeToken:
    """Take a token away, and the sessions that were begun with it. An empty `id` is the caller's own."""

    id: str = ""
    owner: str | None = None
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenViews:
    """The answer to CreateToken, ListTokens and RevokeToken; the newest first."""

    tokens: tuple[TokenView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """`user`, by the token of this id, asked for `action` (such as tasks.cancel) upon `target`."""

    at: float
    user: str
    token: str
    action: str
    target: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAudit:
    """The record, newest first, of one user or of all (empty); at most 1,000 entries a page."""

    user: str = ""
    limit: int = 100
    page_token: str = ""
    caller: Caller = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """The answer to ListAudit."""

    entries: tuple[AuditEntry, ...]
    next_page_token: str = ""
