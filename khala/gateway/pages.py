"""The root page: what this is and where the API begins."""

from __future__ import annotations

from sanic.response import HTTPResponse, html

from khala.gateway.exchange import Call
from khala.gateway.routes import Route

_ROOT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Khala</title>
<h1>Khala</h1>
<p>This gateway runs command-line tasks in parallel on a cluster of computers.</p>
<ul>
<li><a href="/docs">HTTP API</a>, under <code>/api/v1</code></li>
<li><a href="/api/test">KV2-compatible API</a>, under <code>/api</code></li>
<li><a href="/readyz">Is the cluster ready?</a></li>
</ul>
</html>
"""


def page_routes() -> tuple[Route, ...]:
    """The pages."""
    return (Route(method="GET", path="/", handler=root, summary="What this is", public=True),)


async def root(call: Call) -> HTTPResponse:
    """A static page without scripts."""
    return html(_ROOT, headers={"Content-Security-Policy": "default-src 'none'"})
