"""One request on its way through the gateway: who asks, what may be asked, and its body, bounded.

Runs on the event loop. Bodies are read only here: never more than the given limit, never longer
than the sender may pause, and never more of them at a time than the worker's allowance.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from sanic.request import Request
from sanic.response import HTTPResponse

from khala.core.commands import Caller, GetTasks, Ping, TaskViews
from khala.errors import Fault, Refusal, Unavailable
from khala.gateway.guessing import Guesses
from khala.gateway.json_weight import MAX_JSON_VALUES, refuse_heavy_json
from khala.gateway.judicators import AnyReply, Command, Judicators
from khala.gateway.settings import GatewaySettings

MAX_EMPTY_BODY_BYTES = 64 * 1024
"""How much is read and ignored where no body is expected."""
UNPROVEN_BYTES = 1024 * 1024
"""How much of a body is taken from a caller whose token no judicator has judged yet."""


class Allowance:
    """How many bytes of bodies one worker may still take into memory."""

    def __init__(self, total_bytes: int) -> None:
        self._left_bytes = total_bytes

    def take(self, size: int) -> None:
        """Reserve `size` bytes, or raise Unavailable (P15)."""
        if size > self._left_bytes:
            raise Unavailable("too much is being sent to this gateway right now", retry_after_s=2.0)
        self._left_bytes -= size

    def give_back(self, size: int) -> None:
        """Return what was taken."""
        self._left_bytes += size


@dataclass(slots=True, kw_only=True)
class Call:
    """A request, its caller, and the way to the judicators. Lives as long as the request.

    `proven`: a judicator has let the caller in.
    """

    request: Request
    settings: GatewaySettings
    judicators: Judicators
    allowance: Allowance
    guesses: Guesses
    caller: Caller
    proven: bool = False
    _held_bytes: int = field(default=0)

    async def ask(self, command: Command, reply: type[AnyReply], *, timeout_s: float = 10.0) -> AnyReply:
        """The judicators' reply to `command`, which must be a `reply`."""
        answer = await self.judicators.call(command, timeout_s=timeout_s)
        if not isinstance(answer, reply):
            raise Fault(f"{type(command).__name__} was answered by {type(answer).__name__}")
        self.proven = self.proven or not isinstance(command, Ping)
        return answer

    def show(self, caller: Caller) -> None:
        """Ask as `caller` from now on: the credential was in the body. Raises Refusal `too_many_requests`."""
        self.guesses.check(self.request.ip, caller.token)
        self.caller = caller

    async def chunks(self, limit_bytes: int) -> AsyncIterator[bytes]:
        """The body, piece by piece; raises Refusal `too_large` beyond `limit_bytes`."""
        stream: Any = self.request.stream
        declared = self.request.headers.get("content-length")
        if declared is not None and declared.isascii() and declared.isdigit() and int(declared) > limit_bytes:
            raise _too_large(limit_bytes)
        size, self.proven = 0, self.proven or self.settings.auth == "none"
        while stream is not None and stream.request_body:
            try:
                async with asyncio.timeout(self.settings.body_idle_s):
                    chunk = await stream.read()
            except TimeoutError as error:
                raise Refusal("the body did not arrive in time", code="timeout") from error
            if not chunk:
                continue
            size += len(chunk)
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            if size > UNPROVEN_BYTES and not self.proven:
                await self._prove_token()
            yield chunk

    async def body(self, limit_bytes: int) -> bytes:
        """The whole body in memory, counted against the worker's allowance."""
        parts = []
        async for chunk in self.chunks(limit_bytes):
            self.hold(len(chunk))
            parts.append(chunk)
        return b"".join(parts)

    async def json_body(self) -> bytes:
        """The body of a request that must be JSON, of a weight that can be decoded.

        Raises Refusal `unsupported_media_type` or `too_large`.
        """
        if self.content_type() != "application/json":
            raise Refusal("send the body as application/json", code="unsupported_media_type")
        body = await self.body(self.settings.max_json_bytes)
        if len(body) > MAX_JSON_VALUES:
            await asyncio.to_thread(refuse_heavy_json, body)
        return body

    async def _prove_token(self) -> None:
        """Have the token judged by the cheapest command that asks for one; raises Refusal."""
        await self.ask(GetTasks(task_ids=(), view="minimal", caller=self.caller), TaskViews)

    def content_type(self) -> str:
        """The body's media type in lower case, without its parameters."""
        return str(self.request.headers.get("content-type", "")).partition(";")[0].strip().lower()

    def hold(self, size: int) -> None:
        """Count `size` more bytes of this request as held in memory, or raise Unavailable."""
        self.allowance.take(size)
        self._held_bytes += size

    def release(self) -> None:
        """The request is over: give back what it held."""
        self.allowance.give_back(self._held_bytes)
        self._held_bytes = 0


def json_response(value: object, status: int = 200, **headers: str) -> HTTPResponse:
    """A JSON answer; underscores in header names become hyphens."""
    return HTTPResponse(
        orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS),
        status=status,
        headers={name.replace("_", "-"): text for name, text in headers.items()},
        content_type="application/json",
    )


def _too_large(limit_bytes: int) -> Refusal:
    return Refusal(f"the body may have at most {limit_bytes} bytes", code="too_large")
