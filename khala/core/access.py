"""Who may do what: roles of tokens against commands, and whose tasks they reach. Pure (P17)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from khala.core.commands import (
    CancelTasks,
    CountTasks,
    ExecutorViews,
    GetTasks,
    ListExecutors,
    ListJudicators,
    Ping,
    RemoveJudicator,
    SearchTasks,
    SubmitTasks,
)
from khala.core.jobs import CancelJob, CreateJob, GetJobs, RetryJob, SearchJobs
from khala.core.operations import AmendTask, DrainExecutor, GetMetrics, PurgeTask
from khala.core.people import (
    CreateToken,
    DeleteUser,
    GetMe,
    ListAudit,
    ListTokens,
    ListUsers,
    PutUser,
    Quota,
    RevokeToken,
)
from khala.core.transfers import GetFileChunk, GetOutput, PutFileChunk, PutOutput
from khala.errors import Refusal

ADMIN = "admin"
USER = "user"
VIEWER = "viewer"
EXECUTOR = "executor"
ROLES = (ADMIN, USER, VIEWER)
"""What a person may be; nodes are `executor`."""
OPEN_TO_ALL = frozenset({Ping})
"""What needs no token."""
OWN_DOOR = frozenset({GetMe, CreateToken, RevokeToken, ListTokens})
"""What everybody may ask about themselves."""
READS = frozenset({GetTasks, SearchTasks, CountTasks, GetOutput, GetJobs, SearchJobs})
"""What a viewer may do to everybody's tasks."""
READER_MAY = OWN_DOOR | READS | {Ping, ListExecutors, ListJudicators, GetFileChunk}
VIEWER_MAY = READER_MAY | {GetMetrics}
USER_MAY = (
    READER_MAY
    | {SubmitTasks, CancelTasks, AmendTask, PurgeTask, PutFileChunk}
    | {CreateJob, CancelJob, RetryJob}
)
ADMIN_MAY = (
    USER_MAY | VIEWER_MAY | {DrainExecutor, RemoveJudicator, PutUser, ListUsers, DeleteUser, ListAudit}
)
EXECUTOR_MAY = frozenset({GetFileChunk, PutFileChunk, PutOutput})
MAY = {ADMIN: ADMIN_MAY, USER: USER_MAY, VIEWER: VIEWER_MAY, EXECUTOR: EXECUTOR_MAY}
COMMANDS = ADMIN_MAY | EXECUTOR_MAY
"""All that passes the doorkeeper."""

Command = TypeVar("Command")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a token names. `expires_at` (Unix seconds) is the end of the token."""

    user: str = ""
    role: str = ""
    token_id: str = ""
    quota: Quota = Quota()
    expires_at: float | None = None


ANYBODY = Identity(role=ADMIN)
"""The caller of a cluster that was started open."""


def token_digest(token: str) -> str:
    """What is stored of a token: the SHA-256 of its text, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_id(digest: str) -> str:
    """The name under which a token is listed and revoked; it opens nothing."""
    return digest[:16]


def may(role: str, command: type) -> bool:
    """May a token of this role (empty: no token) give this command?"""
    return command in OPEN_TO_ALL or command in MAY.get(role, frozenset())


def scoped(command: Command, who: Identity) -> Command:
    """`command`, narrowed to what is the caller's own: every command with an `owner` passes here.

    Administrators reach everything, viewers read everything. Raises Refusal when another's is asked for.
    """
    asked: Any = command
    if not hasattr(asked, "owner") or who.role == ADMIN or (who.role == VIEWER and type(asked) in READS):
        return command
    if asked.owner not in (None, who.user):
        raise Refusal("only an administrator reaches what is another user's", code="forbidden", field="owner")
    narrowed: Command = replace(asked, owner=who.user)
    return narrowed


def reach_of(who: Identity) -> str | None:
    """Whose tasks the caller may build upon: their own, or an administrator everybody's (None)."""
    return None if who.role == ADMIN else who.user


def seen_by(who: Identity, answer: object) -> object:
    """`answer`, without the names of tasks that a user does not know of: an executor runs everybody's."""
    if who.role != USER or not isinstance(answer, ExecutorViews):
        return answer
    return replace(answer, executors=tuple(replace(executor, running=()) for executor in answer.executors))


def node_token(secret: bytes, role: str) -> str:
    """The token that nodes of this role show; whoever has the cluster secret can make it."""
    return hmac.digest(secret, b"khala node token " + role.encode(), hashlib.sha256).hex()
