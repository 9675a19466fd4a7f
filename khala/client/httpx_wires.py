"""The wires of httpx: an asynchronous one, and a blocking one for TLS and proxies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from khala.client.exchange import CONNECT_TIMEOUT_S, Answer, OpenAnswer, Request
from khala.client.loopback import is_loopback
from khala.errors import OutcomeUnknown, Unavailable


class BlockingHttpxWire:
    """Used from any thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = httpx.Client(**_settings(url))

    async def send(self, request: Request) -> Answer:
        """The whole answer."""
        with _translated(self._url):
            return _answer(self._http.send(_request(self._http, self._url, request)))

    @asynccontextmanager
    async def opened(self, request: Request) -> AsyncIterator[OpenAnswer]:
        """The answer as soon as its headers are here."""
        with _translated(self._url):
            response = self._http.send(_request(self._http, self._url, request), stream=True)
            try:
                yield _open_answer(response, _without_suspending(response.iter_bytes()))
            finally:
                response.close()

    async def pause(self, seconds: float) -> None:
        """Wait in this thread."""
        time.sleep(seconds)

    async def close(self) -> None:
        """Release the connections."""
        self._http.close()


class HttpxWire:
    """Of one event loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = httpx.AsyncClient(**_settings(url))

    async def send(self, request: Request) -> Answer:
        """The whole answer."""
        with _translated(self._url):
            return _answer(await self._http.send(_request(self._http, self._url, request)))

    @asynccontextmanager
    async def opened(self, request: Request) -> AsyncIterator[OpenAnswer]:
        """The answer as soon as its headers are here."""
        with _translated(self._url):
            response = await self._http.send(_request(self._http, self._url, request), stream=True)
            try:
                yield _open_answer(response, response.aiter_bytes())
            finally:
                await response.aclose()

    async def pause(self, seconds: float) -> None:
        """Let others run meanwhile."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()


def _settings(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    # As many connections as there are calls at a time: who calls bounds them.
    return {
        "verify": parts.scheme == "https",
        "trust_env": not is_loopback(parts.hostname or ""),
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=32),
    }


def _request(http: httpx.Client | httpx.AsyncClient, url: str, request: Request) -> httpx.Request:
    return http.build_request(
        request.verb,
        url + request.target,
        content=request.content,
        headers=dict(request.headers),
        timeout=httpx.Timeout(request.silent_s, connect=CONNECT_TIMEOUT_S),
    )


def _answer(response: httpx.Response) -> Answer:
    return Answer(status=response.status_code, headers=_small_headers(response), content=response.content)


def _open_answer(response: httpx.Response, pieces: AsyncIterator[bytes]) -> OpenAnswer:
    return OpenAnswer(status=response.status_code, headers=_small_headers(response), pieces=pieces)


def _small_headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): text for name, text in response.headers.items()}


async def _without_suspending(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as failure:
        raise Unavailable(
            f"cannot reach {url} ({failure}): is the cluster running, and is this its URL?", retry_after_s=0.0
        ) from failure
    except httpx.TransportError as failure:
        raise OutcomeUnknown(
            f"no answer from {url} ({failure or type(failure).__name__})", retry_after_s=0.0
        ) from failure
