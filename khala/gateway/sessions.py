"""Web sessions: `POST /api/v1/login` with a token, `/logout`. Runs on the event loop.

A session is a token of its own that ends by itself and with the token that began it. It lives in a cookie
that scripts cannot read and that browsers send to this site's own pages only; for anything that changes,
the page that asks must also prove to be this site's (`khala.gateway.auth`).
"""

from __future__ import annotations

from sanic.response import HTTPResponse

from khala.core.access import token_digest
from khala.core.commands import Caller
from khala.core.people import CreateToken, GetMe, Me, RevokeToken, TokenViews
from khala.gateway.auth import SESSION_COOKIE, check_text, refuse_foreign_origin
from khala.gateway.exchange import MAX_EMPTY_BODY_BYTES, Call, json_response
from khala.gateway.queries import Query
from khala.gateway.routes import Route
from khala.gateway.schemas import LoginBody, decode
from khala.gateway.tokens import new_token
from khala.gateway.views import me_view


def session_routes() -> tuple[Route, ...]:
    """Login and logout."""
    return (
        Route(
            method="POST", path="/api/v1/login", handler=login, summary="Begin a web session",
            public=True, body=LoginBody,
        ),
        Route(method="POST", path="/api/v1/logout", handler=logout, summary="End a web session"),
    )  # fmt: skip


async def login(call: Call) -> HTTPResponse:
    """The caller as `/me` has it, and the session's cookie; on an open cluster there is nothing to begin."""
    Query(call.request, ())
    refuse_foreign_origin(call.request, call.settings)
    body = decode(await call.json_body(), LoginBody)
    if call.settings.auth == "none":
        return json_response(me_view(await call.ask(GetMe(), Me)))
    call.show(Caller(token=check_text(body.token)))
    me = await call.ask(GetMe(caller=call.caller), Me)
    text = new_token()
    begin = CreateToken(digest=token_digest(text), name="web session", session=True, caller=call.caller)
    (session,) = (await call.ask(begin, TokenViews)).tokens
    lasts_s = int((session.expires_at or session.created_at) - session.created_at)
    return json_response(me_view(me), Set_Cookie=_cookie(call, text, lasts_s))


async def logout(call: Call) -> HTTPResponse:
    """End the session; a token that is no session stays."""
    Query(call.request, ())
    await call.body(MAX_EMPTY_BODY_BYTES)
    me = await call.ask(GetMe(caller=call.caller), Me)
    if me.token is not None and me.token.session:
        await call.ask(RevokeToken(caller=call.caller), TokenViews)
    return json_response({"logged_out": True}, Set_Cookie=_cookie(call, "", 0))


def _cookie(call: Call, text: str, lasts_s: int) -> str:
    secure = "; Secure" if _by_https(call) else ""
    return f"{SESSION_COOKIE}={text}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Strict{secure}"


def _by_https(call: Call) -> bool:
    """Does the browser speak https to us, or to a proxy before us? To claim so wrongly only helps nobody."""
    headers = call.request.headers
    told = str(headers.get("x-forwarded-proto", "")).lower()
    return (
        call.request.scheme == "https"
        or told == "https"
        or str(headers.get("origin", "")).startswith("https://")
    )
