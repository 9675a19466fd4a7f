"""The Sanic application: its settings, its routes, and what becomes of errors.

One application per worker process, on that process's event loop. It owns the way to the judicators,
made by the given factory before it serves and closed after it stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from sanic import Sanic
from sanic.exceptions import NotFound
from sanic.request import Request
from sanic.response import BaseHTTPResponse, HTTPResponse

from khala.gateway.access_log import AccessLog
from khala.gateway.assets import Assets
from khala.gateway.batches import batch_routes
from khala.gateway.cluster import cluster_routes
from khala.gateway.events import event_routes
from khala.gateway.explaining import KnownExecutors, explain_routes
from khala.gateway.files import file_routes
from khala.gateway.gathering import GatheredLooks
from khala.gateway.job_results import job_result_routes
from khala.gateway.jobs import job_routes
from khala.gateway.judicators import Judicators
from khala.gateway.kv2 import kv2_routes
from khala.gateway.logs import log_routes
from khala.gateway.metrics import metric_routes
from khala.gateway.openapi import with_document
from khala.gateway.operating import operating_routes
from khala.gateway.output_files import output_file_routes
from khala.gateway.pages import missing_page, page_routes
from khala.gateway.people import people_routes
from khala.gateway.problems import problem_response, request_id
from khala.gateway.routes import register
from khala.gateway.sessions import session_routes
from khala.gateway.settings import GatewaySettings
from khala.gateway.sse import ARRIVALS_AT_ONCE
from khala.gateway.tasks import MAX_WAIT_S, task_routes
from khala.gateway.tokens import token_routes
from khala.gateway.watching import Looks, watching_routes

JudicatorsFactory = Callable[[], Judicators]


def create_app(settings: GatewaySettings, factory: JudicatorsFactory) -> Sanic[Any, Any]:
    """An application for `settings.host` and `settings.port`; it does not listen yet."""
    app: Sanic[Any, Any] = Sanic(f"khala-gateway-{settings.port}", configure_logging=False)
    _configure(app, settings)
    assets = Assets()
    table = (
        *task_routes(), *batch_routes(), *job_routes(),
        *job_result_routes(), *log_routes(), *event_routes(), *file_routes(),
        *output_file_routes(), *explain_routes(), *cluster_routes(), *metric_routes(), *operating_routes(),
        *watching_routes(), *token_routes(), *session_routes(), *people_routes(), *kv2_routes(),
    )  # fmt: skip
    register(app, (*page_routes(assets), *with_document(table, assets)), settings)
    app.error_handler.add(NotFound, partial(_answer_unknown, assets))
    app.error_handler.add(Exception, _answer_error)
    app.register_middleware(_add_headers, "response")
    if settings.access_log:
        app.register_middleware(AccessLog(), "response")

    async def open_judicators(app: Sanic[Any, Any]) -> None:
        app.ctx.judicators = factory()
        app.ctx.known_executors, app.ctx.looks = KnownExecutors(), Looks()
        app.ctx.arrivals, app.ctx.gathered = asyncio.Semaphore(ARRIVALS_AT_ONCE), GatheredLooks()

    async def close_judicators(app: Sanic[Any, Any]) -> None:
        app.ctx.judicators.close()

    app.ctx.followers = set()
    app.register_listener(open_judicators, "before_server_start")
    app.register_listener(close_judicators, "after_server_stop")
    return app


def _configure(app: Sanic[Any, Any], settings: GatewaySettings) -> None:
    app.config.MOTD = False
    app.config.AUTO_EXTEND = False
    app.config.FALLBACK_ERROR_FORMAT = "json"
    # Handlers count for themselves; this is how much Sanic reads and throws away after a refusal, so
    # that a client that is still sending gets to see the answer.
    app.config.REQUEST_MAX_SIZE = 4 * settings.max_upload_bytes
    app.config.REQUEST_TIMEOUT = 30
    app.config.RESPONSE_TIMEOUT = MAX_WAIT_S + 60
    app.config.KEEP_ALIVE_TIMEOUT = 75
    app.config.GRACEFUL_SHUTDOWN_TIMEOUT = settings.stop_grace_s
    # What this gateway has to say it says itself: Sanic's own remarks start at an error.
    for name in ("sanic.root", "sanic.server", "sanic.error"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _answer_unknown(assets: Assets, request: Request, error: Exception) -> HTTPResponse:
    return missing_page(request, assets) or _answer_error(request, error)


def _answer_error(request: Request, error: Exception) -> HTTPResponse:
    route = request.route
    on_error = getattr(route.ctx, "on_error", None) if route is not None else None
    return on_error(request, error) if on_error is not None else problem_response(request, error)


def _add_headers(request: Request, response: BaseHTTPResponse) -> None:
    response.headers["X-Request-ID"] = request_id(request)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
