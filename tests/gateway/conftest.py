"""A real gateway on a real port, in a thread, before a model of a cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from actors.world import World
from gateway.cluster_model import ClusterModel
from gateway.real_cluster import RealCluster
from sanic import Sanic

from khala.gateway.server import GatewayServer
from khala.gateway.serving import listen
from khala.gateway.settings import GatewaySettings

TOKEN = "admin-token"


@dataclass
class Gateway:
    """`http` is a client whose addresses begin at the gateway; `stop` tells it to end."""

    stage: Stage
    port: int
    http: httpx.Client
    stop: Callable[[], None]

    @property
    def cluster(self) -> ClusterModel:
        return self.stage.cluster

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def submit(self, **task: Any) -> str:
        """Create a task; its id."""
        body = {"execute": {"command": "true"}} | task
        answer = self.http.post("/api/v1/tasks", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


class Stage:
    """What a gateway has behind it: the model of whichever test runs now."""

    def __init__(self, cluster: ClusterModel) -> None:
        self.cluster = cluster
        self.closed = False

    async def call(self, command: Any, *, timeout_s: float = 10.0) -> Any:
        return await self.cluster.call(command, timeout_s=timeout_s)

    def close(self) -> None:
        self.closed = True


@contextmanager
def running(stage: Stage, **settings: Any) -> Iterator[Gateway]:
    """A gateway with `settings` that ends with the block."""
    ready = threading.Event()
    chosen = GatewaySettings(**({"auth": "none"} | settings))
    sock = listen(chosen.host, 0)
    port = sock.getsockname()[1]
    server = GatewayServer(replace(chosen, port=port), lambda: stage, sock)
    thread = threading.Thread(target=server.run, kwargs={"on_ready": ready.set}, name="gateway")
    thread.start()
    try:
        assert ready.wait(60), "the gateway did not start"
        base_url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=base_url, timeout=60) as http:
            yield Gateway(stage, port, http, server.stop)
    finally:
        server.stop()
        thread.join(60)
    assert not thread.is_alive(), "the gateway did not stop"
    assert stage.closed, "the gateway left its judicators open"


@pytest.fixture(autouse=True, scope="session")
def many_apps_in_a_process() -> None:
    """Sanic rewrites its own methods when an application starts; this lets it do so again."""
    Sanic.test_mode = True


@pytest.fixture(scope="session")
def open_gateway(many_apps_in_a_process: None) -> Iterator[Gateway]:
    """One server for all tests of open clusters: starting one costs more than most tests."""
    with running(Stage(ClusterModel())) as started:
        yield started


@pytest.fixture(scope="session")
def secured_gateway(many_apps_in_a_process: None) -> Iterator[Gateway]:
    """One server for all tests of secured clusters."""
    with running(Stage(ClusterModel()), auth="token") as started:
        yield started


@pytest.fixture
def gateway(open_gateway: Gateway) -> Gateway:
    """The gateway of an open cluster (`--auth=none`) that is new for each test."""
    open_gateway.stage.cluster = ClusterModel()
    return open_gateway


@pytest.fixture
def secured(secured_gateway: Gateway) -> Gateway:
    """The gateway of a secured cluster, new for each test; its client sends no token by itself."""
    secured_gateway.stage.cluster = ClusterModel(tokens=frozenset({TOKEN, "reader-token"}))
    return secured_gateway


@pytest.fixture
def start_gateway() -> Iterator[Callable[..., Gateway]]:
    """Starts gateways with other settings, which end with the test: `start_gateway(body_idle_s=…)`."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running(Stage(ClusterModel()), **settings))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The actors of a whole cluster on in-memory twins."""
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def site(world: World, many_apps_in_a_process: None) -> Iterator[Gateway]:
    """A gateway before it that asks for no token."""
    with running(Stage(RealCluster(world, secured=False)), auth="none") as gateway:
        yield gateway


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
