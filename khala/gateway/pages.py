"""The web site: one page under the address of every view, its files, and KV2's addresses for them.

Runs on the event loop. The page is the same for everyone and carries no data: its scripts ask `/api/v1`.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from sanic.request import Request
from sanic.response import HTTPResponse, redirect

from khala.errors import Refusal
from khala.gateway.assets import Asset, Assets
from khala.gateway.exchange import Call
from khala.gateway.reading import is_known
from khala.gateway.routes import Route

VIEWS = ("/", "/tasks", "/tasks/<id>", "/jobs", "/jobs/<id>", "/new", "/executors", "/judicators")
POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
        "require-trusted-types-for 'script'", "trusted-types 'none'",
    )
)  # fmt: skip
_FOR_GOOD = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_PAGE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": _ASK_AGAIN,
}
_NO_PAGES = re.compile(r"/(api|web|metrics|healthz|readyz|version)(/|$)")


def page_routes(assets: Assets) -> tuple[Route, ...]:
    """The page's addresses, its files, and where KV2's pages are now."""

    async def show_page(call: Call, **parts: str) -> HTTPResponse:
        """The web site; its scripts ask this API."""
        return _answer(call, assets.page, dict(_PAGE_HEADERS))

    async def show_file(call: Call, version: str, path: str) -> HTTPResponse:
        """A file of the web site, which never changes under its address."""
        file = assets.files.get(path)
        if file is None:
            raise Refusal("the site has no such file", code="not_found")
        # Another version's page is open while gateways are upgraded: it gets what there is, for now.
        return _answer(call, file, {"Cache-Control": _FOR_GOOD if version == assets.version else _ASK_AGAIN})

    views = [
        Route(method="GET", path=path, handler=show_page, summary="The web site", public=True)
        for path in VIEWS
    ]
    file = Route(
        method="GET", path="/web/<version>/<path:path>", handler=show_file,
        summary="A file of the web site", public=True,
    )  # fmt: skip
    moved = [
        Route(method="GET", path=path, handler=lead_on, summary="KV2's address of a page", public=True)
        for path in ("/search", "/add", "/get")
    ]
    return (*views, file, *moved)


def missing_page(request: Request, assets: Assets) -> HTTPResponse | None:
    """What a browser is shown at an address where nothing is: the page, which says so. None for whoever
    wants no page, or asks where none could be."""
    wants = "text/html" in str(request.headers.get("accept", ""))
    if not wants or request.method not in ("GET", "HEAD") or _NO_PAGES.match(request.path):
        return None
    page = assets.page
    return HTTPResponse(page.content, status=404, headers=dict(_PAGE_HEADERS), content_type=page.content_type)


async def lead_on(call: Call) -> HTTPResponse:
    """308 to the page that took the place of KV2's."""
    id = str(call.request.args.get("id") or "")
    if call.request.path == "/add":
        return redirect("/new", status=308)
    if call.request.path == "/get" and re.fullmatch(r"[0-9a-zA-Z]{1,64}", id):
        return redirect(f"/tasks/{quote(id)}", status=308)
    return redirect("/tasks", status=308)


def _answer(call: Call, file: Asset, headers: dict[str, str]) -> HTTPResponse:
    headers |= {"ETag": file.tag, "Vary": "Accept-Encoding"}
    if is_known(call, file.tag):
        return HTTPResponse(status=304, headers=headers)
    if "gzip" in str(call.request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"] = "gzip"
        return HTTPResponse(file.compressed, headers=headers, content_type=file.content_type)
    return HTTPResponse(file.content, headers=headers, content_type=file.content_type)
