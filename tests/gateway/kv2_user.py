"""How a KV2 user's script talks to a gateway."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import requests
from gateway.conftest import Gateway

UNKNOWN_ID = "0123456789abcdef01234567"
FORM = {
    "user": "7",
    "compile_source_name": "main.cpp",
    "compile_source_str": "int main() {}\r\n",
    "compile_command": "g++ -o main main.cpp\r\necho done",
    "compile_timeout": "10",
    "execute_input": "1 2\r\n",
    "execute_data_name": "raw.dat",
    "execute_data_str": "a\r\nb",
    "execute_command": "./main",
    "execute_timeout": "1",
    "execute_standard": "3\r\n",
}


def add(gateway: Gateway, form: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    answer = requests.post(
        f"{gateway.url}/api/task", data=FORM if form is None else form, **options, timeout=60
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return dict(answer.json())


def added(gateway: Gateway, form: dict[str, Any] | None = None, **options: Any) -> str:
    answer = add(gateway, form, **options)
    assert answer["result"] == 0, answer
    return str(answer["id"])


def get(gateway: Gateway, **params: str) -> requests.Response:
    return requests.get(f"{gateway.url}/api/task", params=params, timeout=60)


def task(gateway: Gateway, id: str, **params: str) -> dict[str, Any]:
    answer = get(gateway, id=id, **params).json()
    assert answer["result"] == 0
    return dict(answer["task"])


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
