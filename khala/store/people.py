"""Bounds and refusals about people that both implementations share. Pure, any thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from khala.core.people import UserView
from khala.errors import Refusal

MOST_TOKENS = 100
"""So many tokens, sessions aside, one user may have."""
MOST_SESSIONS = 20
TOUCH_EVERY_S = 60.0


def limits_of(users: Iterable[UserView]) -> Mapping[str, int]:
    """Whose tasks that run are limited, and to how many."""
    return {user.name: user.quota.running for user in users if user.quota.running is not None}


def no_user(name: str) -> Refusal:
    """The refusal for a user who is not there."""
    return Refusal(f"there is no user {name!r}", code="not_found", field="name")


def other_user(name: str) -> Refusal:
    """The refusal to make a user who is there and differs."""
    return Refusal(f"there is a user {name!r} already, who differs", code="conflict", field="name")


def no_token(id: str) -> Refusal:
    """The refusal for a token that is not there."""
    return Refusal(f"there is no token {id!r}", code="not_found", field="id")


def other_token() -> Refusal:
    """The refusal to store a digest that is another token's."""
    return Refusal("another token has this digest", code="conflict", field="digest")


def too_many_tokens(user: str) -> Refusal:
    """The refusal of one token more."""
    return Refusal(
        f"{user} has {MOST_TOKENS} tokens already: revoke one that is not needed", code="quota_exceeded"
    )


def no_page() -> Refusal:
    """The refusal of a page token that is not one of ours."""
    return Refusal("page_token is not one that a list returned", field="page_token")
