"""The route table's form, and what happens around every handler.

A route is data: the application registers it, the OpenAPI document describes it, and one wrapper
identifies the caller before any of the body is read.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from sanic import Sanic
from sanic.request import Request
from sanic.response import HTTPResponse

from khala.errors import Refusal
from khala.gateway.auth import identify
from khala.gateway.exchange import Allowance, Call
from khala.gateway.guessing import Guesses
from khala.gateway.settings import GatewaySettings

Handler = Callable[..., Coroutine[Any, Any, HTTPResponse | None]]
ErrorAnswer = Callable[[Request, Exception], HTTPResponse]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One address and method. `path` has Sanic's `<name>` parts, which the handler gets by name.

    `public` routes ask for no token. `loose` ones also take it from the query or the cookie. `body`
    and `query` describe the input for the OpenAPI document. `on_error` answers in another
    dialect than problems.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    public: bool = False
    loose: bool = False
    body: type | None = None
    query: tuple[str, ...] = ()
    on_error: ErrorAnswer | None = None


def register(app: Sanic[Any, Any], table: Sequence[Route], settings: GatewaySettings) -> None:
    """Add every route of `table` to `app`, whose `ctx.judicators` is set before it serves."""
    allowance, guesses = Allowance(settings.max_held_bytes), Guesses(settings.wrong_tokens_at_once)
    for route in table:
        methods = ["GET", "HEAD"] if route.method == "GET" else [route.method]
        # With ignore_body Sanic preloads nothing and lifts no limit: handlers read what they need.
        app.route(
            route.path,
            methods=methods,
            name=f"{route.method}{route.path}".translate(_NAME_SAFE),
            ignore_body=True,
            unquote=True,
            ctx_on_error=route.on_error,
        )(_endpoint(route, settings, allowance, guesses))


_NAME_SAFE = str.maketrans({"/": "_", "<": "-", ">": "-", ".": "-", ":": "-"})


def _endpoint(route: Route, settings: GatewaySettings, allowance: Allowance, guesses: Guesses) -> Handler:
    loose = route.loose or route.method == "GET"

    async def answer(request: Request, **parts: str) -> HTTPResponse | None:
        call = Call(
            request=request,
            settings=settings,
            judicators=request.app.ctx.judicators,
            allowance=allowance,
            guesses=guesses,
            caller=identify(request, settings, loose=loose, required=not route.public),
        )
        try:
            guesses.check(request.ip, call.caller.token)
            return await route.handler(call, **parts)
        except Refusal as error:
            if error.code == "unauthorized" and call.caller.token:
                guesses.failed(request.ip)
            raise
        finally:
            if call.proven and call.caller.token:
                guesses.proved(call.caller.token)
            call.release()

    return answer
