"""Oversized, slow and broken bodies: a clear refusal, and memory stays flat."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import httpx
import pytest
import requests
from gateway.conftest import Gateway, problem
from gateway.processes import gateway_process
from wait import wait_until

MIB = 1024 * 1024
JSON = {"content-type": "application/json"}
BYTES = {"content-type": "application/octet-stream"}


def blocks(size: int) -> Iterator[bytes]:
    block = b"x" * MIB
    for _ in range(size // MIB):
        yield block


@pytest.mark.parametrize("path", ["/api/v1/tasks", "/api/v1/tasks/batch"])
@pytest.mark.parametrize("declared", [True, False])
def test_json_over_its_bound_is_a_413(
    start_gateway: Callable[..., Gateway], path: str, declared: bool
) -> None:
    gateway = start_gateway(max_json_bytes=MIB)
    content = b" " * (3 * MIB) if declared else blocks(3 * MIB)
    problem(gateway.http.post(path, content=content, headers=JSON), 413, "too_large")
    assert gateway.http.get("/healthz").status_code == 200


@pytest.mark.parametrize("declared", [True, False])
def test_an_upload_over_its_bound_is_a_413(start_gateway: Callable[..., Gateway], declared: bool) -> None:
    gateway = start_gateway(max_upload_bytes=2 * MIB)
    content = b"x" * (3 * MIB) if declared else blocks(3 * MIB)
    problem(gateway.http.post("/api/v1/files", content=content, headers=BYTES), 413, "too_large")
    assert gateway.http.post("/api/v1/files", content=b"x" * 2 * MIB, headers=BYTES).status_code == 201


def test_kv2_forms_over_their_bounds_are_result_3(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway(max_upload_bytes=2 * MIB, max_json_bytes=MIB)
    form = {"user": "1", "execute_command": "true"}
    url = f"{gateway.url}/api/task"
    too_large = {"result": 3, "id": None}
    file = {"compile_source": ("s.zip", b"x" * (3 * MIB))}
    assert requests.post(url, data=form, files=file, timeout=60).json() == too_large
    long = form | {"execute_input": "x" * (MIB + 1)}
    assert requests.post(url, data=long, timeout=60).json() == too_large
    assert requests.post(url, data=long, files={"f": b""}, timeout=60).json() == too_large
    assert requests.post(url, data=form, timeout=60).json()["result"] == 0


def test_json_with_too_many_values_is_a_413(gateway: Gateway) -> None:
    many = b'{"tasks":[' + b"{}," * 600_000 + b"{}]}"
    problem(gateway.http.post("/api/v1/tasks/batch", content=many, headers=JSON), 413, "too_large")
    text = b'{"execute":{"command":"a","stdin":"' + b"[{," * 600_000 + b'"}}'
    assert gateway.http.post("/api/v1/tasks", content=text, headers=JSON).status_code == 201


def test_too_many_bodies_at_a_time_are_a_503(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway(max_held_bytes=2 * MIB)
    task = b'{"execute":{"command":"a"}}'

    def crowded() -> bool:
        """Is the second refused? Whichever of the two comes first fits in; so it may take some tries."""
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as first:
            first.sendall(head("/api/v1/tasks", 10 * MIB) + b" " * (MIB + MIB // 2))
            answer = gateway.http.post("/api/v1/tasks", content=b" " * MIB + task, headers=JSON)
            if answer.status_code == 201:
                return False
            problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            small = gateway.http.post("/api/v1/tasks", content=task, headers=JSON)
            assert small.status_code == 201
            return True

    wait_until(crowded, what="the second body to be refused")


def head(path: str, length: int | str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def raw(gateway: Gateway, sent: bytes) -> bytes:
    """All that the gateway answers to `sent` before it closes, or pauses."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as sock:
        sock.sendall(sent)
        return sock.recv(65536)


def test_a_body_that_does_not_arrive_is_a_408(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway(body_idle_s=0.2)
    for path in ("/api/v1/tasks", "/api/v1/files"):
        assert raw(gateway, head(path, 100) + b"{").startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (head("/api/v1/tasks", "minus"), 400),
        (head("/api/v1/tasks", -5), 400),
        (head("/api/v1/tasks", 5).replace(b"\r\n\r\n", b"\r\nContent-Length: 6\r\n\r\n"), 400),
        (head("/api/v1/tasks", "9" * 30), 413),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 413),
        (
            b"POST /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            400,
        ),
        (b"GET /api/v1/tasks HTTP/1.1\r\n\r\n", 403),
        (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    ],
    ids=range(11),
)
def test_broken_http_is_a_problem_too(gateway: Gateway, sent: bytes, status: int) -> None:
    answer = raw(gateway, sent)
    assert answer.startswith(f"HTTP/1.1 {status}".encode()), answer
    assert b"application/problem+json" in answer and b"Traceback" not in answer
    assert gateway.http.get("/healthz").status_code == 200


def test_a_sender_that_goes_away_leaves_nothing(gateway: Gateway) -> None:
    for path in ("/api/v1/tasks", "/api/v1/files", "/api/task"):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as sock:
            sock.sendall(head(path, 1000) + b"{")
    assert gateway.http.get("/healthz").status_code == 200
    assert gateway.submit()


def test_memory_stays_flat_under_oversized_bodies() -> None:
    with gateway_process() as gateway, httpx.Client(base_url=gateway.url, timeout=60) as http:

        def upload() -> None:
            answer = http.post("/api/v1/files", content=blocks(200 * MIB), headers=BYTES)
            assert answer.status_code == 413

        def multipart() -> None:
            answer = http.post("/api/task", data={"user": "1"}, files={"compile_source": b"x" * (80 * MIB)})
            assert answer.json()["result"] == 3

        def json() -> None:
            answer = http.post("/api/v1/tasks", content=blocks(200 * MIB), headers=JSON)
            assert answer.status_code == 413

        def values() -> None:
            answer = http.post("/api/v1/tasks/batch", content=b"[" * (20 * MIB), headers=JSON)
            assert answer.status_code == 413

        began = gateway.peak_bytes()
        for send, held in ((upload, 8), (multipart, 8), (json, 80), (values, 80)):
            for _ in range(3):
                send()
            assert gateway.peak_bytes() < began + held * MIB, send.__name__
