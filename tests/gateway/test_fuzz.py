"""Random bodies and addresses: any answer but a 5xx, always well formed."""

from __future__ import annotations

import json
import random
from typing import Any

import httpx
import pytest
from gateway.conftest import Gateway

NAMES = (
    "name", "user", "labels", "priority", "inputs", "archives", "compile", "execute", "limits", "resources",
    "constraints", "expected_output", "retry", "on_disconnect", "command", "env", "args", "stdin", "path",
    "content", "file_id", "encoding", "mode", "cpus", "memory", "wall_time", "max_attempts", "outputs",
    "tasks", "x", "", "\0", "é", "$where", "a.b",
)  # fmt: skip
TEXTS = (
    "", "a", "true", "utf-8", "base64", "../x", "a/b", "0" * 64, "\0", "\ud800", "é" * 300, "continue", "{",
)  # fmt: skip


def value(dice: random.Random, depth: int) -> Any:
    kinds = [
        lambda: dice.choice(TEXTS),
        lambda: dice.choice((0, 1, -1, 2**31, 2**63, -(2**63), 2**64, 10**400)),
        lambda: dice.choice((0.5, -0.0, 1e308, 5e-324)),
        lambda: dice.choice((None, True, False)),
    ]
    if depth > 0:
        kinds += [
            lambda: [value(dice, depth - 1) for _ in range(dice.randrange(4))],
            lambda: {dice.choice(NAMES): value(dice, depth - 1) for _ in range(dice.randrange(5))},
        ] * 2
    return dice.choice(kinds)()


def task(dice: random.Random) -> Any:
    """A good task with some of it replaced."""
    body: dict[str, Any] = {"execute": {"command": "true"}, "inputs": [{"path": "a", "content": "b"}]}
    for _ in range(dice.randrange(3)):
        target = dice.choice([body, body.get("execute"), (body.get("inputs") or [None])[0]])
        if isinstance(target, dict):
            target[dice.choice(NAMES)] = value(dice, 3)
        if not isinstance(body.get("inputs"), list):
            break
    return body


def mangled(dice: random.Random, text: bytes) -> bytes:
    """`text` with a few bytes changed, cut or doubled."""
    content = bytearray(text)
    for _ in range(dice.choice((0, 0, 1, 3))):
        at = dice.randrange(len(content) + 1)
        content[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(3))
    return bytes(content)


def check(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"code", "detail", "field", "request_id"} <= set(answer.json())


@pytest.mark.parametrize("seed", range(4))
def test_random_json_is_never_a_fault(gateway: Gateway, seed: int) -> None:
    dice = random.Random(seed)
    statuses = set()
    for _ in range(100):
        body = dice.choice([lambda: task(dice), lambda: value(dice, 4), lambda: {"tasks": [task(dice)]}])()
        content = mangled(dice, json.dumps(body).encode())
        path = dice.choice(["/api/v1/tasks", "/api/v1/tasks", "/api/v1/tasks/batch"])
        answer = gateway.http.post(path, content=content, headers={"content-type": "application/json"})
        check(answer)
        statuses.add(answer.status_code)
    assert {201, 422, 400} <= statuses, "the fuzz reaches too little"


@pytest.mark.parametrize("seed", range(2))
def test_random_forms_are_never_a_fault(gateway: Gateway, seed: int) -> None:
    dice = random.Random(seed)
    names = (
        "user", "compile_source", "compile_source_name", "compile_source_str", "compile_command",
        "compile_timeout", "execute_input", "execute_data", "execute_command", "execute_timeout",
    )  # fmt: skip
    results = set()
    for _ in range(100):
        parts = {"user": b"1", "execute_command": b"true"} if dice.random() < 0.7 else {}
        parts |= {dice.choice(names): dice.randbytes(dice.randrange(20)) for _ in range(dice.randrange(3))}
        body = b"".join(
            b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
            % (name.encode(), dice.choice((b"", b'; filename="f"')), content)
            for name, content in parts.items()
        )
        content = mangled(dice, body + b"--x--\r\n") if dice.random() < 0.5 else body + b"--x--\r\n"
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = gateway.http.post("/api/task", content=content, headers=headers)
        assert answer.status_code == 200, answer.text
        results.add(answer.json()["result"])
    assert results <= {0, 3, 4} and {0, 4} <= results


def test_random_addresses_are_never_a_fault(gateway: Gateway) -> None:
    dice = random.Random(5)
    routes = ("/api/v1/tasks", "/api/v1/tasks/", "/api/v1/files/", "/api/v1/executors/", "/api/task",
              "/api/task/list", "/api/v1/cluster", "/")  # fmt: skip
    for _ in range(200):
        tail = "".join(f"%{dice.randrange(256):02x}" for _ in range(dice.randrange(6)))
        name = dice.choice(
            ("state", "user", "page_token", "created_after", "id", "limit", "view", "file", "%00")
        )
        path = dice.choice(routes) + dice.choice((tail, "", f"?{name}={tail}", f"?{tail}&{name}=1&{name}"))
        check(gateway.http.request(dice.choice(("GET", "HEAD", "DELETE")), path))
