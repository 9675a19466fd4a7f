"""One line for each answer, to standard output. Without the query, which may hold a token."""

from __future__ import annotations

import logging
import sys

from sanic.request import Request
from sanic.response import BaseHTTPResponse

from khala.gateway.problems import request_id


class AccessLog:
    """Response middleware of one worker; its logger is its own, so nothing else is configured by it."""

    def __init__(self) -> None:
        self._log = logging.Logger("khala.access", logging.INFO)
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._log.addHandler(handler)

    def __call__(self, request: Request, response: BaseHTTPResponse) -> None:
        """Note an answer: who, what, how, and the request's id."""
        line = '%s "%s %s" %s %s'
        path = request.path.encode("unicode_escape").decode()
        self._log.info(line, request.ip, request.method, path, response.status, request_id(request))
