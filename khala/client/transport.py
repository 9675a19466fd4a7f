"""One HTTP call to the gateway, tried again while that is safe, and its failure as Khala's errors.

Safe because every POST that creates carries an idempotency key, and every other call is idempotent
by itself. Called from any thread; sleeps between tries.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from khala.errors import Fault, OutcomeUnknown, Refusal, Unavailable

_TRY_LATER = frozenset({429, 503})
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_CONNECT_TIMEOUT_S = 3.0


class Transport:
    """Calls to one gateway.

    `patience_s` bounds how long a call is tried again when the gateway cannot be reached or asks to
    try later; `timeout_s` bounds one try.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        patience_s: float = 30.0,
        timeout_s: float = 30.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.url = url.rstrip("/")
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._chance = chance
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refusal(
                f"{url!r} is not a gateway's URL: give one such as http://127.0.0.1:7000", field="url"
            )
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            verify=parts.scheme == "https",
            trust_env=not _is_loopback(parts.hostname),
        )

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def __enter__(self) -> Transport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def call(
        self,
        verb: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, str] | None = None,
        key: str = "",
        wait_s: float = 0.0,
    ) -> Any:
        """The decoded JSON answer, or None where there is none.

        `wait_s` is how long the gateway itself may take on purpose. Raises Refusal (4xx), Unavailable
        (not reachable, 429, 503), OutcomeUnknown (sent, but no answer came) or Fault (other 5xx).
        """
        content = None if body is None else orjson.dumps(body)
        headers = {} if content is None else {"Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        request = self._http.build_request(
            verb,
            self.url + path,
            content=content,
            params=query,
            headers=headers,
            timeout=httpx.Timeout(self._timeout_s + wait_s, connect=_CONNECT_TIMEOUT_S),
        )
        deadline = time.monotonic() + self._patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return self._try_once(request)
            except Unavailable as failure:
                wanted_s = max(failure.retry_after_s, pause_s * (0.5 + self._chance()))
                if time.monotonic() + wanted_s > deadline:
                    raise
                time.sleep(wanted_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    @contextmanager
    def opened(
        self,
        path: str,
        *,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        silent_s: float,
    ) -> Iterator[httpx.Response]:
        """One GET whose body comes piece by piece, tried once; nothing may come for `silent_s` seconds.

        Raises Refusal, or Unavailable: also when the body breaks off, which is where to go on from.
        """
        timeout = httpx.Timeout(silent_s, connect=_CONNECT_TIMEOUT_S)
        try:
            with self._http.stream(
                "GET", self.url + path, params=query, headers=headers, timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    raise _failure(response)
                yield response
        except httpx.TransportError as failure:
            raise Unavailable(
                f"cannot read from {self.url} ({failure or type(failure).__name__})", retry_after_s=0.0
            ) from failure

    @property
    def patience_s(self) -> float:
        """How long a call is tried again."""
        return self._patience_s

    def _try_once(self, request: httpx.Request) -> Any:
        try:
            response = self._http.send(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as failure:
            raise Unavailable(
                f"cannot reach {self.url} ({failure}): is the cluster running, and is this its URL?",
                retry_after_s=0.0,
            ) from failure
        except httpx.TransportError as failure:
            raise OutcomeUnknown(
                f"no answer from {self.url} ({failure or type(failure).__name__})", retry_after_s=0.0
            ) from failure
        if response.is_success:
            try:
                return orjson.loads(response.content) if response.content else None
            except orjson.JSONDecodeError as failure:
                raise Fault(f"{self.url} is no Khala gateway: its answer is not JSON") from failure
        raise _failure(response)


def _failure(response: httpx.Response) -> Exception:
    try:
        problem = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    detail = str(
        problem.get("detail") or f"the gateway answered {response.status_code} {response.reason_phrase}"
    )
    if response.status_code in _TRY_LATER:
        return Unavailable(detail, retry_after_s=_seconds(response.headers.get("Retry-After", "")))
    if response.status_code < 500:
        return Refusal(
            detail,
            code=str(problem.get("code") or response.status_code),
            field=str(problem.get("field") or ""),
        )
    return Fault(f"{detail} (request {problem.get('request_id') or 'without id'}; see the gateway's log)")


def _seconds(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 1.0


def _is_loopback(host: str) -> bool:
    """No proxy stands between this machine and itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
