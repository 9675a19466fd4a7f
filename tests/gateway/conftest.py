"""A real gateway on a real port, in a thread, before a model of a cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from gateway.cluster_model import ClusterModel
from sanic import Sanic

from khala.gateway.server import GatewayServer
from khala.gateway.serving import listen
from khala.gateway.settings import GatewaySettings

TOKEN = "admin-token"


@dataclass
class Gateway:
    """`http` is a client whose addresses begin at the gateway; `stop` tells it to end."""

    cluster: ClusterModel
    port: int
    http: httpx.Client
    stop: Callable[[], None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def submit(self, **task: Any) -> str:
        """Create a task; its id."""
        body = {"execute": {"command": "true"}} | task
        answer = self.http.post("/api/v1/tasks", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


@contextmanager
def running(cluster: ClusterModel, **settings: Any) -> Iterator[Gateway]:
    """A gateway with `settings` that ends with the block."""
    ready = threading.Event()
    chosen = GatewaySettings(**({"auth": "none"} | settings))
    sock = listen(chosen.host, 0)
    port = sock.getsockname()[1]
    server = GatewayServer(replace(chosen, port=port), lambda: cluster, sock)
    thread = threading.Thread(target=server.run, kwargs={"on_ready": ready.set}, name="gateway")
    thread.start()
    try:
        assert ready.wait(10), "the gateway did not start"
        base_url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=base_url, timeout=20) as http:
            yield Gateway(cluster, port, http, server.stop)
    finally:
        server.stop()
        thread.join(15)
    assert not thread.is_alive(), "the gateway did not stop"
    assert cluster.closed, "the gateway left its judicators open"


@pytest.fixture(autouse=True, scope="session")
def many_apps_in_a_process() -> None:
    """Sanic rewrites its own methods when an application starts; this lets it do so again."""
    Sanic.test_mode = True


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """An open cluster's gateway (`--auth=none`)."""
    with running(ClusterModel()) as started:
        yield started


@pytest.fixture
def secured() -> Iterator[Gateway]:
    """A secured cluster's gateway; its client sends no token by itself."""
    with running(ClusterModel(tokens=frozenset({TOKEN, "reader-token"})), auth="token") as started:
        yield started


@pytest.fixture
def start_gateway() -> Iterator[Callable[..., Gateway]]:
    """Starts gateways with other settings: `start_gateway(max_upload_bytes=…)`."""
    with ExitStack() as stack:
        yield lambda cluster=None, **settings: stack.enter_context(
            running(cluster or ClusterModel(), **settings)
        )


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that an answer is a well-formed problem; its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    return body
