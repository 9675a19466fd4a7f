"""Who may do what: roles of tokens against commands. Pure (P17)."""

from __future__ import annotations

import hashlib

from khala.core.commands import (
    CancelTasks,
    CountTasks,
    GetFileChunk,
    GetTasks,
    ListExecutors,
    ListJudicators,
    Ping,
    PutFileChunk,
    SearchTasks,
    SubmitTasks,
)

ADMIN = "admin"
OPEN_TO_ALL = frozenset({Ping})
NODES_MAY = {"executor": frozenset({Ping, GetFileChunk})}
"""What a node may ask by virtue of its own proof of the cluster secret, without a token."""
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
        PutFileChunk,
        GetFileChunk,
    }
)
MAY = {ADMIN: ADMIN_MAY}


def token_digest(token: str) -> str:
    """What is stored of a token: the SHA-256 of its text, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def may(role: str, command: type) -> bool:
    """May a token of this role give this command?"""
    return command in MAY.get(role, frozenset())


def node_may(node_role: str, command: type) -> bool:
    """May a node of this role give this command without a token?"""
    return command in OPEN_TO_ALL or command in NODES_MAY.get(node_role, frozenset())
