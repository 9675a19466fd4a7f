"""`/docs`: the OpenAPI document as a page, made here; no script, no style or font from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>API · Khala</title>
<link rel="icon" href="BASE/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="BASE/style.css">
<header class="top"><a class="brand" href="/">Khala</a><nav aria-label="Pages">
<a href="/">Overview</a><a href="/tasks">Tasks</a><a href="/jobs">Jobs</a>
<a href="/new">New task</a>
<a href="/executors">Executors</a>
<a href="/judicators">Judicators</a><a href="/docs" aria-current="page">API</a></nav></header>
"""


def api_page(document: Json, base: str) -> str:
    """The page of an OpenAPI document; the site's files are below `base`."""
    return "".join(_lines(document, base))


def _lines(document: Json, base: str) -> Iterator[str]:
    schemas: Json = document["components"]["schemas"]
    yield _HEAD.replace("BASE", base)
    yield "<main class='reference'><h1>Khala HTTP API</h1>"
    yield f"<p>Version {escape(document['info']['version'])}. The same as "
    yield '<a href="/api/v1/openapi.json">OpenAPI document</a>.</p><section class="card">'
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _operation(method.upper(), path, operation)
    yield "</section><h2>Bodies</h2>"
    for name, schema in schemas.items():
        yield f'<section class="card" id="{escape(name)}"><h3><code>{escape(name)}</code></h3>'
        yield f"<p>{escape(schema.get('description', ''))}</p><table>"
        for field, shape in schema.get("properties", {}).items():
            needed = "required" if field in schema.get("required", ()) else ""
            yield f"<tr><td><code>{escape(field)}</code></td><td>{_kind(shape)}</td><td>{needed}</td></tr>"
        yield "</table></section>"
    yield "</main></html>\n"


def _operation(method: str, path: str, operation: Json) -> Iterator[str]:
    yield f"<details><summary><b>{method}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
    yield f"</summary><p>{escape(operation.get('description', ''))}</p>"
    if operation.get("security") == []:
        yield "<p>Needs no token.</p>"
    if operation["parameters"]:
        yield "<table>"
        for each in operation["parameters"]:
            yield f"<tr><td><code>{escape(each['name'])}</code></td><td>{each['in']}</td></tr>"
        yield "</table>"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: {escape(kind)}, {_kind(content.get('schema', {}))}</p>"
    yield "</details>"


def _kind(shape: Json) -> str:
    """A schema in a few words, with links to those that have a name."""
    if "$ref" in shape:
        name = escape(str(shape["$ref"]).rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in shape:
        return " or ".join(_kind(each) for each in shape["anyOf"])
    if "enum" in shape:
        return ", ".join(f"<code>{escape(str(each))}</code>" for each in shape["enum"])
    kind = shape.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(shape.get('items', {}))}"
    return escape(" or ".join(kind) if isinstance(kind, list) else str(kind))
