"""A tiny HTTP server on a real socket whose answers a test scripts, to see what the client sends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SSE = {"Content-Type": "text/event-stream; charset=utf-8"}
END = {"attempt": 2, "state": "succeeded", "size": 9, "written": 9, "lost": False, "next_attempt": None}


def event(id: str, **data: Any) -> bytes:
    """A piece of output, as the gateway sends it."""
    return f"id: {id}\nevent: output\ndata: {json.dumps(data)}\n\n".encode()


def end(**changes: Any) -> bytes:
    """The end of an output."""
    return f"event: end\ndata: {json.dumps({**END, **changes})}\n\n".encode()


@dataclass
class Answer:
    """One answer; `drop` closes the connection without any. `raw` is a body as it is, and `cut` closes the
    connection after it, before its end."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    raw: bytes = b""
    cut: bool = False


@dataclass
class Seen:
    """One request as it arrived."""

    verb: str
    path: str
    headers: Mapping[str, str]
    body: Any
    port: int


class ScriptedGateway:
    """Gives the scripted answers in turn, the last one for ever, and keeps what it saw."""

    def __init__(self, *answers: Answer) -> None:
        self.seen: list[Seen] = []
        self.url = ""
        self._answers = list(answers)
        self._rule: Callable[[Seen], Answer] | None = None
        self._lock = threading.Lock()

    def replace(self, rule: Callable[[Seen], Answer]) -> None:
        """From now on `rule` answers."""
        self._rule = rule

    def answer(self, seen: Seen) -> Answer:
        """Note the request; its answer."""
        with self._lock:
            self.seen.append(seen)
            if self._rule is not None:
                return self._rule(seen)
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@contextmanager
def serving(gateway: ScriptedGateway) -> Iterator[ScriptedGateway]:
    """Serve on a free port of the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length)
            body = json.loads(content) if content else None
            seen = Seen(self.command, self.path, dict(self.headers), body, self.client_address[1])
            answer = gateway.answer(seen)
            if answer.drop:
                self.close_connection = True
                return
            body = answer.raw if answer.body is None else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) + answer.cut))
            self.close_connection = answer.cut
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _any  # noqa: N815 - the names that http.server looks for

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the tests' output is for the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    gateway.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield gateway
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
