"""A blocking wire over plain HTTP, of the standard library alone.

A command starts 0.1 s sooner with it than with httpx, which is most of what `khala run` takes. It knows
no TLS and no proxy. Used from any thread: each request has a connection of its own, and leaves it for the
next.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

from khala.client.exchange import CONNECT_TIMEOUT_S, Answer, OpenAnswer, Request
from khala.client.loopback import is_loopback
from khala.errors import OutcomeUnknown, Unavailable

_PIECE_BYTES = 64 * 1024
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


def serves(url: str) -> bool:
    """Is plain HTTP without a proxy the way to `url`?"""
    parts = urlsplit(url)
    proxied = any(os.environ.get(name) for name in _PROXIES) and not is_loopback(parts.hostname or "")
    return parts.scheme == "http" and not proxied


class PlainWire:
    """Connections to the gateway at `url`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._base = parts.path
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []

    async def send(self, request: Request) -> Answer:
        """The whole answer."""
        with self._asked(request) as response, _translated(self._url):
            content = response.read()
            return Answer(status=response.status, headers=_headers(response), content=content)

    @asynccontextmanager
    async def opened(self, request: Request) -> AsyncIterator[OpenAnswer]:
        """The answer as soon as its headers are here."""
        with self._asked(request) as response:
            pieces = self._pieces(response)
            yield OpenAnswer(status=response.status, headers=_headers(response), pieces=pieces)

    async def pause(self, seconds: float) -> None:
        """Wait in this thread."""
        time.sleep(seconds)

    async def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _asked(self, request: Request) -> Iterator[http.client.HTTPResponse]:
        """Send the request; its answer, whose connection is kept when all of it was read."""
        connection = self._connection()
        kept = False
        try:
            with _translated(self._url):
                if connection.sock is not None:
                    connection.sock.settimeout(request.silent_s)
                # A gateway that refuses a long body answers before it has all of it.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(
                        request.verb,
                        self._base + request.target,
                        body=request.content,
                        headers=dict(request.headers),
                    )
                response = connection.getresponse()
            yield response
            kept = response.isclosed() and not response.will_close
        finally:
            if kept:
                with self._lock:
                    self._idle.append(connection)
            else:
                connection.close()

    async def _pieces(self, response: http.client.HTTPResponse) -> AsyncIterator[bytes]:
        while data := self._piece(response):
            yield data

    def _piece(self, response: http.client.HTTPResponse) -> bytes:
        with _translated(self._url):
            data = response.read1(_PIECE_BYTES)
            # A body of stated length that ends early raises nothing by itself.
            if not data and response.length:
                raise http.client.IncompleteRead(b"", response.length)
            return data

    def _connection(self) -> http.client.HTTPConnection:
        """One that is idle and still open, or a new one."""
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if not _ended(connection):
                    return connection
                connection.close()
        connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.connect()
        except OSError as failure:
            raise Unavailable(
                f"cannot reach {self._url} ({failure}): is the cluster running, and is this its URL?",
                retry_after_s=0.0,
            ) from failure
        return connection


def _ended(connection: http.client.HTTPConnection) -> bool:
    """Has the gateway closed it, or said what nobody asked for? Either is readable."""
    return connection.sock is None or bool(select.select([connection.sock], [], [], 0)[0])


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as failure:
        raise OutcomeUnknown(
            f"no answer from {url} ({failure or type(failure).__name__})", retry_after_s=0.0
        ) from failure


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): text for name, text in response.getheaders()}
