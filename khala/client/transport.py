"""Calls to one gateway, tried again while that is safe.

Safe because every POST that creates carries an idempotency key, and every other call is idempotent
by itself. Written once, for blocking and asynchronous wires.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import orjson

from khala.client.exchange import (
    Answer,
    OpenAnswer,
    Patience,
    Request,
    Wire,
    failure_of,
    is_good,
    json_of,
    target_of,
)
from khala.errors import Refusal, Unavailable


class Transport:
    """`patience_s` bounds how long a call is tried again when the gateway cannot be reached or asks to
    try later; `timeout_s` bounds one try."""

    def __init__(self, url: str, token: str, wire: Wire, *, patience_s: float, timeout_s: float) -> None:
        self.url = url
        self._wire = wire
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def close(self) -> None:
        """Release the connections."""
        await self._wire.close()

    async def call(
        self,
        verb: str,
        path: str,
        *,
        body: object = None,
        content: bytes | None = None,
        query: Mapping[str, str] | None = None,
        key: str = "",
        wait_s: float = 0.0,
    ) -> Any:
        """The decoded JSON answer, or None where there is none. `body` is sent as JSON, `content` as it is.

        `wait_s` is how long the gateway itself may take on purpose. Raises Refusal (4xx), Unavailable
        (not reachable, 429, 503), OutcomeUnknown (sent, but no answer came) or Fault (other 5xx).
        """
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"], content = "application/json", orjson.dumps(body)
        elif content is not None:
            headers["Content-Type"] = "application/octet-stream"
        if key:
            headers["Idempotency-Key"] = key
        request = Request(
            verb=verb,
            target=target_of(path, query),
            headers=headers,
            content=content,
            silent_s=self._timeout_s + wait_s,
        )
        patience = self.patience()
        while True:
            try:
                return json_of(await self._wire.send(request), self.url)
            except Unavailable as failure:
                await self.pause(patience, failure)

    @asynccontextmanager
    async def opened(
        self, path: str, *, query: Mapping[str, str], headers: Mapping[str, str], silent_s: float
    ) -> AsyncIterator[OpenAnswer]:
        """One GET whose body comes piece by piece, tried once; nothing may come for `silent_s` seconds.

        Raises Refusal, or Unavailable: also when the body breaks off, which is where to go on from.
        """
        request = Request(
            verb="GET", target=target_of(path, query), headers={**self._headers, **headers}, silent_s=silent_s
        )
        async with self._wire.opened(request) as answer:
            if not is_good(answer):
                content = b"".join([piece async for piece in answer.pieces])
                raise failure_of(Answer(status=answer.status, headers=answer.headers, content=content))
            yield answer

    async def sleep(self, seconds: float) -> None:
        """Wait, as the wire does."""
        await self._wire.pause(seconds)

    def patience(self) -> Patience:
        """That of one call or one stream, beginning now."""
        return Patience(self._patience_s, time.monotonic())

    async def pause(self, patience: Patience, failure: Unavailable) -> None:
        """Wait for the next try, or raise `failure`."""
        chance = int.from_bytes(os.urandom(2), "big") / 65536
        await self._wire.pause(patience.pause(failure, time.monotonic(), chance))


def checked_url(url: str) -> str:
    """Without a slash at its end; Refusal when it is no gateway's."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refusal(f"{url!r} is not a gateway's URL: give one such as http://127.0.0.1:7000", field="url")
    return url.rstrip("/")
