"""The OpenAPI document, made from the route table and the schemas: it cannot differ from the code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from sanic.response import HTTPResponse, html

from khala import __version__
from khala.gateway.api_page import api_page
from khala.gateway.assets import Assets
from khala.gateway.exchange import Call, json_response
from khala.gateway.problems import CONTENT_TYPE
from khala.gateway.routes import Route
from khala.gateway.schemas import TaskBody

Json = dict[str, Any]
PATH = "/api/v1/openapi.json"
_POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"


def with_document(table: Sequence[Route], assets: Assets) -> tuple[Route, ...]:
    """`table` and the two routes that describe it; the page looks like the site."""

    async def answer(call: Call) -> HTTPResponse:
        """OpenAPI 3.1, made from the code."""
        return json_response(document)

    async def show(call: Call) -> HTTPResponse:
        """A page without scripts, for people; it needs nothing but this gateway."""
        return html(page, headers={"Content-Security-Policy": _POLICY})

    own = Route(method="GET", path=PATH, handler=answer, summary="This document")
    shown = Route(method="GET", path="/docs", handler=show, summary="This document as a page", public=True)
    document = describe((*table, own, shown))
    page = api_page(document, assets.base)
    return (*table, own, shown)


def describe(table: Sequence[Route]) -> Json:
    """The OpenAPI 3.1 document of `table`."""
    bodies = {route.body for route in table if route.body is not None} | {TaskBody}
    _, components = msgspec.json.schema_components(
        sorted(bodies, key=lambda body: body.__name__), ref_template="#/components/schemas/{name}"
    )
    components["Problem"] = _PROBLEM
    paths: dict[str, Json] = {}
    for route in table:
        path = re.sub(r"<(\w+)(?::\w+)?>", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Khala", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(route: Route) -> Json:
    named = [(name, "path") for name in re.findall(r"<(\w+)(?::\w+)?>", route.path)]
    named += [(name, "query") for name in route.query]
    operation: Json = {
        "summary": route.summary,
        "description": inspect.getdoc(route.handler) or "",
        "parameters": [
            {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}
            for name, place in named
        ],
        "responses": {
            "2XX": {"description": "done"},
            "default": {
                "description": "a problem (RFC 9457)",
                "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if route.public:
        operation["security"] = []
    if route.body is not None:
        schema = {"$ref": f"#/components/schemas/{route.body.__name__}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


_PROBLEM: Json = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "field": {"type": ["string", "null"]},
        "request_id": {"type": "string"},
    },
    "required": ["type", "title", "status", "code", "detail", "request_id"],
}
