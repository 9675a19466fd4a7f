"""Errors as RFC 9457 problems: one place decides status, code and what a caller may be told.

Runs on the event loop. It must never put a traceback, or the text of an unexpected exception, into a
body: those go to the log with the request's id, which the body names.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Mapping

import orjson
from sanic.exceptions import SanicException
from sanic.request import Request
from sanic.response import HTTPResponse

from khala.errors import OutcomeUnknown, Refusal, Unavailable

CONTENT_TYPE = "application/problem+json"

_STATUS = {
    "malformed": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "quota_exceeded": 403,
    "not_found": 404,
    "timeout": 408,
    "conflict": 409,
    "finished": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "too_many_requests": 429,
}
_TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    422: "Invalid input",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
}
# What Sanic itself refuses, in our words: its own texts may repeat the request.
_SANIC = {
    400: ("malformed", "the request is not valid HTTP"),
    404: ("not_found", "there is nothing at this address; /api/v1/openapi.json lists what there is"),
    405: ("method_not_allowed", "this address does not take this method; see the Allow header"),
    408: ("timeout", "the request did not arrive in time"),
    413: ("too_large", "the request is larger than this server takes"),
    417: ("malformed", "the Expect header is not understood"),
    503: ("unavailable", "the server is too busy to answer in time; try again"),
}


def request_id(request: Request) -> str:
    """The id under which this request appears in answers and in the log."""
    if not hasattr(request.ctx, "request_id"):
        request.ctx.request_id = secrets.token_hex(8)
    return str(request.ctx.request_id)


def status_of(refusal: Refusal, *, has_body: bool) -> int:
    """The HTTP status of a refusal; what is wrong with a URL alone is a 400, with a body a 422."""
    return _STATUS.get(refusal.code, 422 if has_body else 400)


def error_fields(error: Refusal | Unavailable) -> dict[str, object]:
    """`code`, `detail` and `field` of an error, for answers that carry several."""
    if isinstance(error, Refusal):
        return {"code": error.code, "detail": error.detail, "field": error.field or None}
    code = "outcome_unknown" if isinstance(error, OutcomeUnknown) else "unavailable"
    return {"code": code, "detail": str(error), "field": None}


def problem_response(request: Request, error: Exception) -> HTTPResponse:
    """The answer to a request that ended with `error`."""
    headers: dict[str, str] = {}
    if isinstance(error, Refusal):
        status = status_of(error, has_body=request.method not in ("GET", "HEAD", "DELETE"))
        fields = error_fields(error)
        if status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="khala"'
        if status == 429:
            headers["Retry-After"] = "1"
    elif isinstance(error, Unavailable):
        status, fields = 503, error_fields(error)
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif isinstance(error, SanicException) and error.status_code in _SANIC:
        status = error.status_code
        code, detail = _SANIC[status]
        fields = {"code": code, "detail": detail, "field": None}
        headers |= {name: str(value) for name, value in error.headers.items() if name.lower() == "allow"}
        if status == 503:
            headers["Retry-After"] = "1"
    else:
        status = 500
        log_unexpected(request, error)
        fields = {
            "code": "internal_error",
            "detail": "something broke in the gateway; its log has more under this request_id",
            "field": None,
        }
    return _problem(request, status, fields, headers)


def log_unexpected(request: Request, error: Exception) -> None:
    """Put an exception that nobody expected into the log, under the request's id."""
    logging.getLogger("khala.gateway").error(
        "request %s: %s %s failed", request_id(request), request.method, request.path, exc_info=error
    )


def _problem(
    request: Request, status: int, fields: Mapping[str, object], headers: Mapping[str, str]
) -> HTTPResponse:
    body = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        **fields,
        "request_id": request_id(request),
    }
    return HTTPResponse(orjson.dumps(body), status=status, headers=dict(headers), content_type=CONTENT_TYPE)
