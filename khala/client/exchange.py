"""One HTTP request, its answer, and what an answer means; how long a call is tried again. Pure.

The blocking client and the asynchronous one share all of this, and differ in their wire only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

import orjson

from khala.errors import Fault, Refusal, Unavailable

CONNECT_TIMEOUT_S = 3.0
_TRY_LATER = frozenset({429, 503})
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent. `target` begins with a slash and has the query; nothing may come for `silent_s`."""

    verb: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    silent_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came; the names of `headers` are in small letters."""

    status: int
    headers: Mapping[str, str]
    content: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAnswer:
    """An answer whose body comes piece by piece; a body that breaks off raises Unavailable."""

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class Wire(Protocol):
    """Connections to one gateway, kept alive. A blocking wire's methods never suspend.

    `send` and `opened` raise Unavailable when nothing was sent, OutcomeUnknown when it is not known
    whether it arrived.
    """

    async def send(self, request: Request) -> Answer:
        """The whole answer."""
        ...

    def opened(self, request: Request) -> AbstractAsyncContextManager[OpenAnswer]:
        """The answer as soon as its headers are here; the connection is its until it is left."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait before another try."""
        ...

    async def close(self) -> None:
        """Release the connections."""
        ...


class Patience:
    """Pauses between tries, longer and longer, and an end when nothing came for too long. Times are
    monotonic seconds; `chance` spreads the pauses of clients that failed together."""

    def __init__(self, patience_s: float, now: float) -> None:
        self._patience_s = patience_s
        self.came_on(now)

    def came_on(self, now: float) -> None:
        """Something came: begin anew."""
        self._deadline = now + self._patience_s
        self._pause_s = _FIRST_PAUSE_S

    def pause(self, failure: Unavailable, now: float, chance: float) -> float:
        """Seconds until the next try; raises `failure` when there is none. `chance` is in 0..1."""
        wanted_s = max(failure.retry_after_s, self._pause_s * (0.5 + chance))
        if now + wanted_s > self._deadline:
            raise failure
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        return wanted_s


def target_of(path: str, query: Mapping[str, str] | None) -> str:
    """Path and query as they are sent."""
    words = "&".join(f"{quote(name, safe='')}={quote(text, safe='')}" for name, text in (query or {}).items())
    return f"{path}?{words}" if words else path


def json_of(answer: Answer, url: str) -> Any:
    """The decoded JSON, or None where there is none; raises what stands for a failure."""
    if not is_good(answer):
        raise failure_of(answer)
    try:
        return orjson.loads(answer.content) if answer.content else None
    except orjson.JSONDecodeError as failure:
        raise Fault(f"{url} is no Khala gateway: its answer is not JSON") from failure


def is_good(answer: Answer | OpenAnswer) -> bool:
    """Is it a success?"""
    return 200 <= answer.status < 300


def failure_of(answer: Answer) -> Exception:
    """Unavailable (429, 503), Refusal (other 4xx), Fault (else)."""
    try:
        problem = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    detail = str(problem.get("detail") or f"the gateway answered {answer.status}")
    if answer.status in _TRY_LATER:
        return Unavailable(detail, retry_after_s=_seconds(answer.headers.get("retry-after", "")))
    if answer.status < 500:
        return Refusal(
            detail, code=str(problem.get("code") or answer.status), field=str(problem.get("field") or "")
        )
    return Fault(f"{detail} (request {problem.get('request_id') or 'without id'}; see the gateway's log)")


def _seconds(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 1.0
