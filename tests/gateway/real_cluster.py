"""A judicator's real actors behind a gateway, in the place of its RPC client."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from actors.world import Node, World

from khala.core.access import token_digest, token_id
from khala.core.commands import NotAvailable, Refused
from khala.core.people import TokenView
from khala.errors import OutcomeUnknown, Refusal, Unavailable

PATIENCE_S = 60.0
"""Beyond the gateway's own: a judicator in this process stands still with it."""

PEOPLE = {"root": "admin", "ann": "user", "bob": "user", "eve": "viewer"}


class RealCluster:
    """`judicator` answers; `people` have a token each, called like them."""

    def __init__(self, world: World, *, secured: bool = True) -> None:
        self.world = world
        self.judicator: Node = world.judicator(secured=secured)
        for name, role in PEOPLE.items():
            world.store.put_user(name, role, None, time.time())
            give_token(world, name, name)

    async def call(self, command: Any, *, timeout_s: float = 10.0) -> Any:
        replies = self.judicator.bus.call(command)
        deadline = time.monotonic() + timeout_s + PATIENCE_S
        while not replies():
            if time.monotonic() > deadline:
                raise OutcomeUnknown("no answer")
            await asyncio.sleep(0.002)
        (answer,) = replies()
        if isinstance(answer, Refused):
            raise Refusal(answer.detail, code=answer.code, field=answer.field)
        if isinstance(answer, NotAvailable):
            kind = OutcomeUnknown if answer.outcome_unknown else Unavailable
            raise kind(answer.detail, retry_after_s=answer.retry_after_s)
        return answer

    def close(self) -> None:
        """The world is the test's own."""


def give_token(world: World, text: str, user: str) -> str:
    """Let a token stand for a user; its id."""
    digest = token_digest(text)
    world.store.add_token(
        digest, TokenView(id=token_id(digest), name=text, user=user, created_at=time.time())
    )
    return token_id(digest)
