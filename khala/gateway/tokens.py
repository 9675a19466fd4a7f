"""`/api/v1/tokens` and `/me`: the caller and the caller's tokens. Runs on the event loop.

A token's text is made here and leaves with the one answer that shows it; judicators get its digest. So a
create that is repeated on the way makes one token.
"""

from __future__ import annotations

import secrets
import time

from sanic.response import HTTPResponse

from khala.core.access import token_digest
from khala.core.people import CreateToken, GetMe, ListTokens, Me, RevokeToken, TokenViews
from khala.gateway.exchange import Call, json_response
from khala.gateway.queries import Query
from khala.gateway.routes import Route
from khala.gateway.schemas import TokenBody, decode
from khala.gateway.views import me_view, token_view

TOKEN_BYTES = 32
PREFIX = "khala_"
"""By which people, and programs that look for secrets in public places, know one."""


def token_routes() -> tuple[Route, ...]:
    """The routes of tokens."""
    tokens = "/api/v1/tokens"
    return (
        Route(method="GET", path="/api/v1/me", handler=get_me, summary="Who am I?"),
        Route(method="GET", path=tokens, handler=list_tokens, summary="List tokens", query=("user",)),
        Route(
            method="POST", path=tokens, handler=create_token, body=TokenBody,
            summary="Create a token, shown only in this answer",
        ),
        Route(method="DELETE", path=f"{tokens}/<id>", handler=revoke_token, summary="Revoke a token"),
    )  # fmt: skip


async def get_me(call: Call) -> HTTPResponse:
    """The caller's name, role, quota, usage and token."""
    Query(call.request, ())
    return json_response(me_view(await call.ask(GetMe(caller=call.caller), Me)))


async def list_tokens(call: Call) -> HTTPResponse:
    """The caller's tokens; everybody's, or those of `user`, for an administrator."""
    owner = Query(call.request, ("user",)).text("user") or None
    found = await call.ask(ListTokens(owner=owner, caller=call.caller), TokenViews)
    return json_response({"tokens": [token_view(token) for token in found.tokens]})


async def create_token(call: Call) -> HTTPResponse:
    """201 with the token's text, which nobody can ask for again."""
    Query(call.request, ())
    body = decode(await call.json_body(), TokenBody)
    text = new_token()
    command = CreateToken(
        digest=token_digest(text),
        name=body.name,
        user=body.user,
        expires_at=None if body.expires_in is None else time.time() + body.expires_in,
        caller=call.caller,
    )
    (made,) = (await call.ask(command, TokenViews)).tokens
    return json_response({**token_view(made), "token": text}, 201, Location=f"/api/v1/tokens/{made.id}")


async def revoke_token(call: Call, id: str) -> HTTPResponse:
    """The token that opens nothing from now on; on other judicators within 10 s."""
    Query(call.request, ())
    (gone,) = (await call.ask(RevokeToken(id=id, caller=call.caller), TokenViews)).tokens
    return json_response(token_view(gone))


def new_token() -> str:
    """The text of a new token."""
    return PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
