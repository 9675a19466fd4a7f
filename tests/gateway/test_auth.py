"""Who may ask at all: tokens, cookies, hosts and origins."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from gateway.conftest import TOKEN, Gateway, problem

from khala.core.commands import SubmitTasks

TASK = {"execute": {"command": "true"}}
BEARER = {"authorization": f"Bearer {TOKEN}"}


def test_every_api_route_asks_for_a_token(secured: Gateway) -> None:
    document = secured.http.get("/api/v1/openapi.json", headers=BEARER).json()
    for path, operations in document["paths"].items():
        if not path.startswith("/api") or path == "/api/v1/login":
            continue
        for method in operations:
            address = path.replace("{id}", "0" * 24).replace("{sha256}", "0" * 64)
            answer = secured.http.request(method, address)
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert secured.cluster.seen == []


def test_what_is_outside_the_api_asks_for_none(secured: Gateway) -> None:
    for path in ("/", "/healthz", "/readyz", "/version"):
        assert secured.http.get(path).status_code == 200


def test_a_good_token_opens_and_reaches_the_judicators(secured: Gateway) -> None:
    assert secured.http.post("/api/v1/tasks", json=TASK, headers=BEARER).status_code == 201
    (submit,) = [command for command in secured.cluster.seen if isinstance(command, SubmitTasks)]
    assert submit.caller.token == TOKEN
    assert secured.http.get("/api/v1/tasks", headers={"authorization": f"bearer  {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    "value",
    ["Bearer wrong", "Bearer", f"Basic {TOKEN}", TOKEN, "Bearer \x7f", "Bearer " + "x" * 2000],
)
def test_a_wrong_credential_is_a_401(secured: Gateway, value: str) -> None:
    problem(secured.http.get("/api/v1/tasks", headers={"authorization": value}), 401, "unauthorized")


def test_a_token_in_bytes_that_are_no_text_is_a_401(secured: Gateway) -> None:
    answer = secured.http.get("/api/v1/tasks", headers=[(b"authorization", b"Bearer \xff\xfe")])
    problem(answer, 401, "unauthorized")


def test_what_a_token_may_not_do_is_a_403(secured: Gateway) -> None:
    answer = secured.http.get("/api/v1/tasks", headers={"authorization": "Bearer reader-token"})
    problem(answer, 403, "forbidden")


def test_the_query_and_the_cookie_are_for_reading_and_for_kv2(secured: Gateway) -> None:
    assert secured.http.get(f"/api/v1/tasks?token={TOKEN}").status_code == 200
    assert secured.http.get(f"/api/task/list?token={TOKEN}").json()["result"] == 0
    assert secured.http.post(f"/api/task?token={TOKEN}", data={"user": "x"}).json()["result"] == 4
    problem(secured.http.post(f"/api/v1/tasks?token={TOKEN}", json=TASK), 401, "unauthorized")
    cookie = {"cookie": f"khala_session={TOKEN}"}
    assert secured.http.get("/api/v1/tasks", headers=cookie).status_code == 200
    assert secured.http.get("/api/executors", headers=cookie).json()["result"] == 0
    problem(secured.http.post("/api/v1/tasks", json=TASK, headers=cookie), 401, "unauthorized")


def test_a_cookie_does_not_serve_a_foreign_page(secured: Gateway) -> None:
    headers = {"cookie": f"khala_session={TOKEN}", "origin": "https://evil.example"}
    problem(secured.http.get("/api/task/list", headers=headers), 403, "forbidden")
    answer = secured.http.post("/api/task", data={"user": "1", "execute_command": "id"}, headers=headers)
    problem(answer, 403, "forbidden")
    own = headers | {"origin": secured.url}
    assert secured.http.get("/api/task/list", headers=own).json()["result"] == 0
    with_header = {"origin": "https://evil.example"} | BEARER
    assert secured.http.get("/api/v1/tasks", headers=with_header).status_code == 200


def refusal_while_sending(gateway: Gateway, head: str, sent_bytes: int) -> bytes:
    """The first answer to a request that announces more than it sends."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as sock:
        sock.sendall(head.encode() + b"x" * sent_bytes)
        return sock.recv(65536)


def test_without_a_token_no_body_is_awaited(secured: Gateway) -> None:
    for path in ("/api/v1/files", "/api/v1/tasks", "/api/v1/tasks/batch", "/api/task"):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n"
        assert refusal_while_sending(secured, head, 0).startswith(b"HTTP/1.1 401")


def test_with_a_wrong_token_little_of_a_body_is_read(secured: Gateway) -> None:
    head = (
        "POST /api/v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n"
        "Content-Type: application/octet-stream\r\nContent-Length: 50000000\r\n\r\n"
    )
    assert refusal_while_sending(secured, head, 2_000_000).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:7000", "10.0.0.1"]
)
def test_an_open_gateway_refuses_a_foreign_host(gateway: Gateway, host: str) -> None:
    assert (
        problem(gateway.http.get("/api/v1/tasks", headers={"host": host}), 403, "forbidden")["field"]
        == "Host"
    )
    assert gateway.cluster.seen == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9999", "[::1]", "[::1]:7000"])
def test_an_open_gateway_answers_under_its_own_names(gateway: Gateway, host: str) -> None:
    assert gateway.http.get("/api/v1/tasks", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "http://[", "file://", ""]
)
def test_an_open_gateway_refuses_a_foreign_origin(gateway: Gateway, origin: str) -> None:
    for answer in (
        gateway.http.post("/api/v1/tasks", json=TASK, headers={"origin": origin}),
        gateway.http.post("/api/task", data={"user": "1"}, headers={"origin": origin}),
        gateway.http.get("/api/v1/tasks", headers={"origin": origin}),
    ):
        assert problem(answer, 403, "forbidden")["field"] == "Origin"
    assert gateway.cluster.seen == []


def test_an_open_gateway_serves_its_own_pages(gateway: Gateway) -> None:
    for origin in (gateway.url, f"http://localhost:{gateway.port}", f"http://[::1]:{gateway.port}"):
        answer = gateway.http.post("/api/v1/tasks", json=TASK, headers={"origin": origin})
        assert answer.status_code == 201


def test_further_names_can_be_allowed(start_gateway: Callable[..., Gateway]) -> None:
    gateway = start_gateway(allowed_hosts=("khala.example", "other.example:8000"))
    for host, status in (
        ("khala.example", 200),
        ("khala.example:443", 200),
        ("other.example:8000", 200),
        ("other.example:8001", 403),
    ):
        assert gateway.http.get("/api/v1/tasks", headers={"host": host}).status_code == status
    headers = {"host": "khala.example", "origin": "https://khala.example"}
    assert gateway.http.post("/api/v1/tasks", json=TASK, headers=headers).status_code == 201


def test_a_gateway_on_all_addresses_answers_under_any_number_but_no_name(
    start_gateway: Callable[..., Gateway],
) -> None:
    gateway = start_gateway(host="0.0.0.0")
    for host, status in (("192.168.7.7:7000", 200), ("[fe80::1]:7000", 200), ("evil.example", 403)):
        assert gateway.http.get("/api/v1/tasks", headers={"host": host}).status_code == status
