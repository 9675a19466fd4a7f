"""Who may do what: roles of tokens against commands. Pure (P17)."""

from __future__ import annotations

import hashlib
import hmac

from khala.core.commands import (
    CancelTasks,
    CountTasks,
    GetFileChunk,
    GetOutput,
    GetTasks,
    ListExecutors,
    ListJudicators,
    Ping,
    PutFileChunk,
    PutOutput,
    RemoveJudicator,
    SearchTasks,
    SubmitTasks,
)

ADMIN = "admin"
EXECUTOR = "executor"
OPEN_TO_ALL = frozenset({Ping})
"""What needs no token."""
ADMIN_MAY = frozenset(
    {
        Ping,
        SubmitTasks,
        CancelTasks,
        GetTasks,
        SearchTasks,
        CountTasks,
        ListExecutors,
        ListJudicators,
        RemoveJudicator,
        PutFileChunk,
        GetFileChunk,
        GetOutput,
    }
)
EXECUTOR_MAY = frozenset({GetFileChunk, PutFileChunk, PutOutput})
MAY = {ADMIN: ADMIN_MAY, EXECUTOR: EXECUTOR_MAY}
COMMANDS = ADMIN_MAY | EXECUTOR_MAY
"""All that passes the doorkeeper."""


def token_digest(token: str) -> str:
    """What is stored of a token: the SHA-256 of its text, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def may(role: str, command: type) -> bool:
    """May a token of this role (empty: no token) give this command?"""
    return command in OPEN_TO_ALL or command in MAY.get(role, frozenset())


def node_token(secret: bytes, role: str) -> str:
    """The token that nodes of this role show; whoever has the cluster secret can make it."""
    return hmac.digest(secret, b"khala node token " + role.encode(), hashlib.sha256).hex()
