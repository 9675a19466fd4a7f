"""One contract for every wire, and both clients over one scripted gateway."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

import pytest
from client.gateway_stand_in import SSE, Answer, ScriptedGateway, end, event, serving

from khala.client import AsyncClient, Client, NotFinished
from khala.client.blocking import finish
from khala.client.exchange import Request, Wire
from khala.client.httpx_wires import BlockingHttpxWire, HttpxWire
from khala.client.plain_wire import PlainWire, serves
from khala.errors import OutcomeUnknown, Refusal, Unavailable

ID = "0123456789abcdef01234567"
TASK = {"execute": {"command": "true"}}
GET = Request(verb="GET", target="/x?a=b%20c", silent_s=5.0)


class Held:
    """A wire and how its coroutines are run."""

    def __init__(self, make: Callable[[str], Wire], url: str) -> None:
        self._loop = asyncio.new_event_loop() if make is HttpxWire else None
        self.wire = make(url)

    def do(self, work):  # type: ignore[no-untyped-def]
        """The result of a coroutine of this wire."""
        return finish(work) if self._loop is None else self._loop.run_until_complete(work)

    def close(self) -> None:
        """Its connections, and its loop."""
        self.do(self.wire.close())
        if self._loop is not None:
            self._loop.close()


@pytest.fixture(params=[PlainWire, BlockingHttpxWire, HttpxWire], ids=lambda make: make.__name__)
def hold(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    """Makes a wire to a URL."""
    with contextlib.ExitStack() as stack:

        def make(url: str) -> Held:
            held = Held(request.param, url)
            stack.callback(held.close)
            return held

        yield make


async def _read(wire: Wire, request: Request) -> tuple[int, bytes]:
    async with wire.opened(request) as answer:
        return answer.status, b"".join([piece async for piece in answer.pieces])


def test_a_request_arrives_as_it_was_meant(hold) -> None:  # type: ignore[no-untyped-def]
    with serving(ScriptedGateway(Answer(201, {"a": 1}, {"X-Word": "yes"}))) as served:
        held = hold(served.url)
        request = Request(verb="POST", target="/y", headers={"X-Asked": "1"}, content=b"[2]", silent_s=5.0)
        answer = held.do(held.wire.send(request))
        assert (answer.status, answer.content, answer.headers["x-word"]) == (201, b'{"a": 1}', "yes")
        held.do(held.wire.send(GET))
    first, second = served.seen
    assert (first.verb, first.path, first.headers["X-Asked"], first.body) == ("POST", "/y", "1", [2])
    assert (second.verb, second.path) == ("GET", "/x?a=b%20c")


def test_a_body_comes_in_pieces_whatever_its_status(hold) -> None:  # type: ignore[no-untyped-def]
    with serving(ScriptedGateway(Answer(206, raw=b"abc" * 50_000), Answer(404, raw=b"no"))) as served:
        held = hold(served.url)
        assert held.do(_read(held.wire, GET)) == (206, b"abc" * 50_000)
        assert held.do(_read(held.wire, GET)) == (404, b"no")


@pytest.mark.parametrize("broken", [Answer(drop=True), Answer(200, raw=b"begun", cut=True)])
def test_what_breaks_off_is_an_unknown_outcome(hold, broken: Answer) -> None:  # type: ignore[no-untyped-def]
    with serving(ScriptedGateway(broken)) as served:
        held = hold(served.url)
        for work in (held.wire.send(GET), _read(held.wire, GET)):
            with pytest.raises(OutcomeUnknown, match=f"no answer from {served.url}"):
                held.do(work)


def test_nobody_there_is_unavailable_and_nothing_was_sent(hold) -> None:  # type: ignore[no-untyped-def]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        held = hold(f"http://127.0.0.1:{probe.getsockname()[1]}")
        with pytest.raises(Unavailable, match="cannot reach") as caught:
            held.do(held.wire.send(GET))
    assert not isinstance(caught.value, OutcomeUnknown)


def test_what_goes_wrong_with_the_pieces_stays_what_it_is(hold) -> None:  # type: ignore[no-untyped-def]
    """A disk that is full while a file is saved is not the gateway's fault."""

    async def fail(wire: Wire) -> None:
        async with wire.opened(GET):
            raise OSError(28, "No space left on device")

    with serving(ScriptedGateway(Answer(200, raw=b"x"))) as served:
        held = hold(served.url)
        with pytest.raises(OSError, match="No space left"):
            held.do(fail(held.wire))


def test_silence_is_given_up(hold) -> None:  # type: ignore[no-untyped-def]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        held = hold(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(OutcomeUnknown):
            held.do(held.wire.send(Request(verb="GET", target="/", silent_s=0.1)))


def test_a_connection_is_used_again_unless_it_has_ended() -> None:
    with serving(ScriptedGateway(Answer(200, {}))) as served:
        wire = PlainWire(served.url)
        for _ in range(3):
            finish(wire.send(GET))
        ports = {seen.port for seen in served.seen}
        served.replace(lambda seen: Answer(200, raw=b"ab", cut=True))
        with pytest.raises(OutcomeUnknown):
            finish(wire.send(GET))
        served.replace(lambda seen: Answer(200, {}))
        assert finish(wire.send(GET)).status == 200
        finish(wire.close())
    assert len(ports) == 1


def test_proxies_and_tls_are_not_for_the_plain_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert serves("http://example.org:7000")
    assert not serves("https://example.org")
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert not serves("http://example.org:7000")
    assert serves("http://127.0.0.1:7000")


def test_the_asynchronous_client_does_the_same() -> None:
    done = {"id": ID, "state": "succeeded", "exit_reason": "exited"}
    answers = [
        Answer(drop=True), Answer(201, {"id": ID}), Answer(200, {"id": ID, "state": "running"}),
        Answer(200, done), Answer(503, {"detail": "no"}, {"Retry-After": "0"}),
        Answer(200, raw=event("4", attempt=1, offset=0, text="one\n"), headers=SSE, cut=True),
        Answer(200, raw=end(), headers=SSE),
    ]  # fmt: skip

    async def main(url: str) -> list[object]:
        async with AsyncClient(url, "secret") as client:
            task_id = await client.submit(TASK)
            task = await client.wait(task_id)
            said = [each async for each in client.follow(task_id)]
            return [task.exit_reason, len(said)]

    with serving(ScriptedGateway(*answers)) as served:
        assert asyncio.run(main(served.url)) == ["exited", 2]
    first, second = served.seen[:2]
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert served.seen[-1].headers["Last-Event-ID"] == "4"


def test_as_completed_asks_in_turn_and_gives_up_in_time() -> None:
    """The first one does not end before the second was seen."""
    ended: set[str] = set()

    def answer(seen) -> Answer:  # type: ignore[no-untyped-def]
        task_id = seen.path.split("/")[-1].split("?")[0]
        finished = task_id != "slow" or "quick" in ended
        ended.update({task_id} if finished else ())
        return Answer(200, {"id": task_id, "state": "succeeded" if finished else "running"})

    async def later(url: str) -> list[str]:
        async with AsyncClient(url) as client:
            return [task.id async for task in client.as_completed(["slow", "quick"])]

    for of in ("blocking", "asynchronous"):
        ended.clear()
        with serving(ScriptedGateway(Answer())) as served:
            served.replace(answer)
            if of == "asynchronous":
                assert sorted(asyncio.run(later(served.url))) == ["quick", "slow"]
                continue
            with Client(served.url) as client:
                assert sorted(task.id for task in client.as_completed(["slow", "quick"])) == ["quick", "slow"]
                served.replace(lambda seen: Answer(200, {"id": "x", "state": "running"}))
                with pytest.raises(NotFinished, match="1 tasks are not finished"):
                    list(client.as_completed(["x"], timeout_s=0.05))
                served.replace(lambda seen: Answer(404, {"detail": "gone", "code": "not_found"}))
                with pytest.raises(Refusal, match="gone"):
                    list(client.as_completed(["x"]))


def test_a_half_stored_batch_is_completed_with_the_same_key() -> None:
    half = [{"id": ID}, {"error": {"code": "unavailable", "detail": "no leader", "field": None}}]
    script = ScriptedGateway(
        Answer(200, {"results": half}), Answer(200, {"results": [{"id": ID}, {"id": "b"}]})
    )
    with serving(script) as served, Client(served.url) as client:
        assert [each["id"] for each in client.submit_many([TASK, TASK])] == [ID, "b"]
    first, second = served.seen
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_map_cancels_what_it_is_not_asked_for_any_more() -> None:
    def answer(seen) -> Answer:  # type: ignore[no-untyped-def]
        if seen.path.endswith("/batch"):
            return Answer(200, {"results": [{"id": f"t{n}"} for n in range(len(seen.body["tasks"]))]})
        return Answer(200, {"id": seen.path.split("/")[4].split("?")[0], "state": "succeeded"})

    with serving(ScriptedGateway(Answer())) as served, Client(served.url) as client:
        served.replace(answer)
        results = client.map("echo {}", ["a b", "c", "d"])
        assert next(results).id == "t0"
        results.close()
    commands = [task["execute"]["command"] for task in served.seen[0].body["tasks"]]
    assert commands == ["echo 'a b'", "echo c", "echo d"]
    cancelled = [seen.path for seen in served.seen if seen.path.endswith("/cancel")]
    assert cancelled == ["/api/v1/tasks/t1/cancel", "/api/v1/tasks/t2/cancel"]


def test_results_that_break_off_are_gone_on_from() -> None:
    lines = [b'{"index": 0}\n', b'{"index": 1}\n', b'{"index": 2}\n']
    broken = [Answer(200, raw=lines[0] + lines[1][:4], cut=True), Answer(200, raw=lines[0], cut=True)]
    with serving(ScriptedGateway(*broken, Answer(200, raw=b"".join(lines)))) as served:
        with Client(served.url) as client:
            assert [line["index"] for line in client.results("j", follow=True)] == [0, 1, 2]
    assert {seen.path for seen in served.seen} == {"/api/v1/jobs/j/results.ndjson?follow=1"}
