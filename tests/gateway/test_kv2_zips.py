"""Zip files of KV2 users: bad ones are refused before anything is stored."""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable

import pytest
import requests
from gateway.conftest import Gateway

from khala.core.commands import SubmitTasks
from khala.core.transfers import PutFileChunk

FORM = {"user": "1", "execute_command": "true"}


def send(gateway: Gateway, content: bytes) -> int:
    answer = requests.post(
        f"{gateway.url}/api/task", data=FORM, files={"compile_source": ("s.zip", content)}, timeout=60
    )
    assert answer.status_code == 200
    if answer.json()["result"] != 0:
        assert answer.json()["id"] is None
        assert not any(isinstance(command, SubmitTasks | PutFileChunk) for command in gateway.cluster.seen)
    return int(answer.json()["result"])


def archive(fill: Callable[[zipfile.ZipFile], None]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        fill(made)
    return buffer.getvalue()


def named(*names: str) -> bytes:
    def fill(made: zipfile.ZipFile) -> None:
        for name in names:
            made.writestr(zipfile.ZipInfo(name), b"x")

    return archive(fill)


def with_mode(mode: int) -> bytes:
    entry = zipfile.ZipInfo("entry")
    entry.external_attr = mode << 16
    return archive(lambda made: made.writestr(entry, "/etc/passwd"))


GOOD = named("main.cpp", "folder/", "folder/a.txt", "name with blank", "ünïcode")


def test_a_good_zip(gateway: Gateway) -> None:
    assert send(gateway, GOOD) == 0
    assert send(gateway, b"#!/bin/sh self-extracting\n" + GOOD) == 0
    assert send(gateway, with_mode(stat.S_IFREG | 0o755)) == 0


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense",
        b"PK\x05\x06",
        GOOD[:-1],
        GOOD[: len(GOOD) // 2],
        GOOD[:-22] + b"PK\x05\x06" + b"\xff" * 18,
        os.urandom(5000),
        named("../up"),
        named("/etc/passwd"),
        named("a/../../b"),
        named("a\\b"),
        named("a\nb"),
        named("x" * 300),
        GOOD.replace(b"main.cpp", b"ma\0n.cpp"),
        with_mode(stat.S_IFLNK | 0o777),
        with_mode(stat.S_IFCHR | 0o666),
        with_mode(stat.S_IFIFO | 0o666),
    ],
    ids=range(16),
)
def test_a_bad_zip_is_invalid_input(gateway: Gateway, content: bytes) -> None:
    assert send(gateway, content) == 4


def test_an_encrypted_zip_is_invalid_input(gateway: Gateway) -> None:
    at = GOOD.index(b"PK\x01\x02")
    (flags,) = struct.unpack_from("<H", GOOD, at + 8)
    assert send(gateway, GOOD[: at + 8] + struct.pack("<H", flags | 1) + GOOD[at + 10 :]) == 4


def test_a_zip_with_too_many_entries_is_too_large(gateway: Gateway) -> None:
    assert send(gateway, named(*(f"f{index}" for index in range(10_001)))) == 3


def test_a_zip_that_hides_a_huge_directory_is_too_large(gateway: Gateway) -> None:
    """Its end record says little; its zip64 record, which zipfile believes, says much."""
    padded = b"x" * 5_000_000 + GOOD
    end = padded.rindex(b"PK\x05\x06")
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**5, 10**5, 4_900_000, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    assert send(gateway, padded[:end] + end64 + locator + padded[end:]) == 3
