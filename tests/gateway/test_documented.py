"""docs/http-api.md and the page at /docs have every route; the page needs nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.conftest import Gateway

DOCS = Path(__file__).resolve().parents[2] / "docs" / "http-api.md"


def test_every_route_is_documented_and_nothing_else_is(gateway: Gateway) -> None:
    paths = gateway.http.get("/api/v1/openapi.json").json()["paths"]
    told = set(re.findall(r"`(/[\w/{}.]*)`", DOCS.read_text()))
    routes = {path for path in paths if path.startswith("/api/v1") or path in ("/metrics", "/docs")}
    assert routes <= told, routes - told
    absolute = {path for path in told if path.startswith("/api/v1/")}
    assert absolute <= set(paths), absolute - set(paths)


def test_the_page_shows_every_route_without_the_internet(gateway: Gateway) -> None:
    answer = gateway.http.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path, operations in gateway.http.get("/api/v1/openapi.json").json()["paths"].items():
        for method in operations:
            assert f"<b>{method.upper()}</b> <code>{path}</code>" in answer.text
    assert "<script" not in answer.text and "http://" not in answer.text and "https://" not in answer.text
