"""Who asks, and from which page: credentials are found here, judged by judicators (P17).

Owns the rules about Host and Origin, which keep a foreign web page from using a visitor's browser:
by DNS rebinding (Host) or by a cross-site request (Origin). Pure but for reading the request.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from sanic.request import Request

from khala.core.commands import Caller
from khala.errors import Refusal
from khala.gateway.settings import GatewaySettings

SESSION_COOKIE = "khala_session"
MAX_TOKEN_CHARS = 1024
_SAFE = frozenset({"GET", "HEAD"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_WILDCARDS = frozenset({"", "0.0.0.0", "::", "[::]"})


def identify(request: Request, settings: GatewaySettings, *, loose: bool, required: bool) -> Caller:
    """The caller of a request, found in its headers alone: no body is read for it.

    `loose` also takes the token from `?token=` (KV2 scripts, plain GETs). The session's cookie is taken
    when no other site's page sent it, and to change something only when a page of this site did. Raises
    Refusal `unauthorized` without a credential where one is `required`, and `forbidden` for a foreign
    Host or Origin.
    """
    if settings.auth == "none":
        _refuse_foreign_host(request, settings)
        refuse_foreign_origin(request, settings)
        return Caller()
    token = _bearer(request)
    if not token and loose:
        token = request.args.get("token") or ""
    if not token and (cookie := request.cookies.get(SESSION_COOKIE)):
        refuse_foreign_origin(request, settings)
        if request.method in _SAFE or "origin" in request.headers:
            token = cookie
    check_text(token)
    if required and not token:
        raise Refusal(
            "this cluster asks for a token: send `Authorization: Bearer TOKEN`", code="unauthorized"
        )
    return Caller(token=token)


def check_text(token: str) -> str:
    """`token`, if it could be one; Refusal `unauthorized` otherwise."""
    if len(token) > MAX_TOKEN_CHARS or not token.isascii() or not (token.isprintable() or not token):
        raise Refusal("the token is not one that this cluster gave out", code="unauthorized")
    return token


def _bearer(request: Request) -> str:
    scheme, _, token = str(request.headers.get("authorization", "")).partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _refuse_foreign_host(request: Request, settings: GatewaySettings) -> None:
    host = str(request.headers.get("host", "")).lower()
    name, _ = _split(host)
    own = settings.host.lower().strip("[]")
    if name in _LOOPBACK or name.strip("[]") == own or _listed(host, settings):
        return
    # A server on all addresses cannot list them. An address in numbers is what the visitor typed:
    # rebinding needs a name.
    if settings.host in _WILDCARDS and _is_address(name):
        return
    raise Refusal(
        f"this open gateway does not answer under the name {name[:100]!r}; start it with that name "
        "among its allowed hosts, or with tokens",
        code="forbidden",
        field="Host",
    )


def refuse_foreign_origin(request: Request, settings: GatewaySettings) -> None:
    """Raise Refusal `forbidden` for what another site's page sends; other programs name no Origin."""
    origin = request.headers.get("origin")
    if origin is None:
        return
    try:
        place = urlsplit(str(origin)).netloc.lower()
    except ValueError:
        place = ""
    name, port = _split(place)
    same = place != "" and place == str(request.headers.get("host", "")).lower()
    own = settings.host.lower().strip("[]")
    here = (name in _LOOPBACK or name.strip("[]") == own) and port == str(settings.port)
    if not (same or here or _listed(place, settings)):
        raise Refusal("requests from another site's page are refused", code="forbidden", field="Origin")


def _listed(place: str, settings: GatewaySettings) -> bool:
    name, _ = _split(place)
    allowed = {entry.lower() for entry in settings.allowed_hosts}
    return bool(name) and (name in allowed or place in allowed)


def _split(place: str) -> tuple[str, str]:
    """`host:port` in two; the brackets of an IPv6 address stay."""
    if place.startswith("["):
        address, _, rest = place.partition("]")
        return address + "]", rest.removeprefix(":")
    name, _, port = place.partition(":")
    return name, port


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
