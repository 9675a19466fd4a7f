"""A task's output over HTTP as server-sent events: as it comes, and resumed."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from gateway.conftest import Gateway
from gateway.outputs import LARGE, ended, large_task, log_of, stored
from wait import wait_until

from khala.core.output import CHUNK_BYTES
from khala.core.task import StreamCapture
from khala.core.transfers import GetOutput
from khala.gateway import following


@pytest.fixture
def large(gateway: Gateway) -> str:
    return large_task(gateway)


@dataclass
class Event:
    kind: str
    id: str
    data: dict[str, Any]

    @property
    def content(self) -> bytes:
        if "base64" in self.data:
            return base64.b64decode(self.data["base64"])
        return str(self.data["text"]).encode()


def events_of(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events as a browser reads them."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if not line and "data" in fields:
            yield Event(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
        fields = fields | {name: value} if line else {}


@contextmanager
def followed(gateway: Gateway, id: str, *, last: str = "", **query: Any) -> Iterator[Iterator[Event]]:
    headers = {"Last-Event-ID": last} if last else {}
    with gateway.http.stream("GET", log_of(id), params={"follow": 1, **query}, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield events_of(answer.iter_lines())


def test_follow_from_before_the_start_to_the_end(gateway: Gateway) -> None:
    id = gateway.submit()
    with followed(gateway, id) as events:
        gateway.cluster.start(id)
        gateway.cluster.write(id, b"one\n")
        first = next(events)
        assert (first.kind, first.id, first.data) == (
            "output", "4@1", {"attempt": 1, "offset": 0, "text": "one\n"}
        )  # fmt: skip
        gateway.cluster.write(id, b"two\n")
        assert next(events).data == {"attempt": 1, "offset": 4, "text": "two\n"}
        gateway.cluster.end(id, ended(StreamCapture(size=12, head=b"one\ntwo\nlast")))
        assert next(events).content == b"last"
        end = next(events)
        assert end.kind == "end"
        assert end.data == {
            "attempt": 1, "state": "succeeded", "size": 12, "written": 12, "lost": False,
            "next_attempt": None,
        }  # fmt: skip
        assert list(events) == []


def test_a_lost_attempt_ends_and_names_the_next(gateway: Gateway) -> None:
    id = gateway.submit()
    gateway.cluster.start(id)
    gateway.cluster.write(id, b"first")
    with followed(gateway, id) as events:
        assert next(events).content == b"first"
        gateway.cluster.lose(id)
        end = next(events).data
        assert (end["lost"], end["attempt"], end["next_attempt"], end["state"]) == (True, 1, 2, "pending")
    with followed(gateway, id, attempt=2) as events:
        gateway.cluster.start(id)
        gateway.cluster.write(id, b"second")
        event = next(events)
        assert (event.content, event.id) == (b"second", "6")
    with followed(gateway, id, last="3@1") as events:
        assert next(events).content == b"st"
        assert next(events).data["next_attempt"] == 2


@pytest.mark.parametrize("seed", range(5))
def test_resumed_anywhere_nothing_is_lost_or_doubled(gateway: Gateway, seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choice("ab\nä€𝄞") for _ in range(100_000)).encode()
    id = gateway.submit()
    gateway.cluster.start(id)
    at = 0
    while at < len(text):
        size = rng.randint(1, 60_000)
        gateway.cluster.write(id, text[at : at + size])
        at += size
    gateway.cluster.end(id, ended(stored(text)))
    seen, last = b"", ""
    while True:
        with followed(gateway, id, last=last) as events:
            for event, _ in zip(events, range(rng.randint(1, 3)), strict=False):
                if event.kind == "end":
                    assert seen == text
                    return
                assert event.data["offset"] == len(seen)
                assert "text" in event.data, "a character was split"
                seen += event.content
                last = event.id


def test_binary_output_is_base64(gateway: Gateway, large: str) -> None:
    with followed(gateway, large, attempt=1) as events:
        found = list(events)
    assert b"".join(event.content for event in found[:-1]) == LARGE
    assert any("base64" in event.data for event in found)
    assert found[-2].id == str(len(LARGE))


@pytest.mark.parametrize(
    ("data", "whole", "held"),
    [(b"", b"", b""), (b"a", b"a", b""), ("é".encode(), "é".encode(), b""), (b"a\xc3", b"a", b"\xc3"),
     (b"a\xe2\x82", b"a", b"\xe2\x82"), (b"\xf0\x9d\x84", b"", b"\xf0\x9d\x84"), (b"a\xff", b"a\xff", b""),
     (b"\xc3a", b"\xc3a", b""), (b"\x80\x80\x80\x80", b"\x80\x80\x80\x80", b"")],
)  # fmt: skip
def test_characters_are_kept_whole(data: bytes, whole: bytes, held: bytes) -> None:
    assert following._whole_characters(data, over=False) == (whole, held)
    assert following._whole_characters(data, over=True) == (data, b"")


def test_half_a_character_waits_for_its_other_half(gateway: Gateway) -> None:
    id = gateway.submit()
    gateway.cluster.start(id)
    gateway.cluster.write(id, b"a\xe2\x82")
    with followed(gateway, id) as events:
        assert next(events).content == b"a"
        asked = len(gateway.cluster.seen)
        gateway.cluster.write(id, b"\xac")
        assert next(events).data == {"attempt": 1, "offset": 1, "text": "€"}
        assert len(gateway.cluster.seen) - asked < 5
        gateway.cluster.write(id, b"\xe2")
        gateway.cluster.end(id, ended(StreamCapture(size=5, head=b"a\xe2\x82\xac\xe2")))
        assert next(events).content == b"\xe2"


def test_tail_and_offset_begin_later(gateway: Gateway) -> None:
    id = gateway.submit()
    gateway.cluster.succeed(id, b"0123456789")
    for query in ({"tail": 3}, {"offset": 7}):
        with followed(gateway, id, **query) as events:
            assert next(events).data == {"attempt": 1, "offset": 7, "text": "789"}
    with followed(gateway, id, tail=3, last="9@1") as events:
        assert next(events).content == b"9"


def test_silence_is_filled(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "IDLE_S", 0.1)
    id = gateway.submit()
    with gateway.http.stream("GET", log_of(id), params={"follow": 1}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 1000"
        assert [line for line, _ in zip(lines, range(6), strict=False) if line] == [":"] * 3


def test_a_reader_that_does_not_read_holds_little(gateway: Gateway) -> None:
    """64 MiB wait for one that took the headers and no more; nothing of it is read for him in advance."""
    id = gateway.submit()
    gateway.cluster.start(id)
    for _ in range(128):
        gateway.cluster.write(id, bytes(512 * 1024))
    with socket.create_connection(("127.0.0.1", gateway.port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(f"GET {log_of(id)}?follow=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 200")

        with gateway.http.stream("GET", log_of(id)) as answer:
            assert sum(len(data) for data in answer.iter_bytes()) == 64 << 20
        asked = [
            c.length for c in gateway.cluster.seen if isinstance(c, GetOutput) and c.length < CHUNK_BYTES
        ]
        assert 0 < sum(asked) < 1 << 20
        assert {length for length in asked if length} == {following.FIRST_PART_BYTES}


def test_a_reader_that_takes_is_given_more(gateway: Gateway) -> None:
    id = gateway.submit()
    gateway.cluster.succeed(id, bytes(4 << 20))
    with followed(gateway, id) as events:
        taken = sum(len(each.content) for each in events if each.kind == "output")
    assert taken == 4 << 20
    asked = [c.length for c in gateway.cluster.seen if isinstance(c, GetOutput) and c.wait_s]
    assert asked == sorted(asked)
    assert (asked[0], asked[-1]) == (following.FIRST_PART_BYTES, following.PART_BYTES)


def test_a_reader_who_goes_away_is_let_go(gateway: Gateway) -> None:
    id = gateway.submit()
    gateway.cluster.start(id)
    with followed(gateway, id) as events:
        gateway.cluster.write(id, b"x")
        next(events)
    asked = len(gateway.cluster.seen)
    gateway.cluster.write(id, b"y")
    wait_until(lambda: gateway.http.get("/healthz").status_code == 200, what="the gateway answers")
    assert len(gateway.cluster.seen) - asked <= 3


def stop_while_followed(gateway: Gateway) -> None:
    """The follower sees the end of its stream, long before the gateway's grace is over."""
    id = gateway.submit()
    with gateway.http.stream("GET", log_of(id), params={"follow": 1}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 1000"
        gateway.stop()
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)


def test_a_stopping_gateway_lets_its_followers_go(start_gateway: Callable[..., Gateway]) -> None:
    stop_while_followed(start_gateway(stop_grace_s=600.0))


def test_a_follower_whose_cancel_got_lost_is_let_go_too(
    start_gateway: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stubborn(*_: object, **__: object) -> AsyncIterator[bytes]:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(600)
        await asyncio.sleep(600)
        yield b""

    monkeypatch.setattr(following, "_events", stubborn)
    stop_while_followed(start_gateway(stop_grace_s=600.0))


def test_head_does_not_follow(gateway: Gateway, large: str) -> None:
    answer = gateway.http.head(log_of(large), params={"follow": 1})
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(LARGE)))
