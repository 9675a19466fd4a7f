"""Following and reading output: every byte once and in order, whatever breaks on the way."""

from __future__ import annotations

import base64

import pytest
from client.gateway_stand_in import SSE, Answer, ScriptedGateway, end, event, serving

from khala.client import Client, OutputEnd, OutputPiece
from khala.errors import Refusal, Unavailable

ID = "0123456789abcdef01234567"
LOG = f"/api/v1/tasks/{ID}/logs/execute/stdout"


def events(*parts: bytes, cut: bool = False) -> Answer:
    return Answer(200, raw=b"retry: 1000\n\n" + b"".join(parts), headers=SSE, cut=cut)


FIRST = event("4@2", attempt=2, offset=0, text="one\n")
SECOND = event("9@2", attempt=2, offset=4, base64=base64.b64encode(b"\xff\x00two").decode())
PIECES = [
    OutputPiece(attempt=2, offset=0, data=b"one\n"),
    OutputPiece(attempt=2, offset=4, data=b"\xff\x00two"),
    OutputEnd(attempt=2, state="succeeded", size=9, written=9),
]


def test_follow_to_the_end() -> None:
    with serving(ScriptedGateway(events(FIRST, b":\n\n", SECOND, end()))) as served:
        with Client(served.url) as client:
            assert list(client.follow(ID)) == PIECES
    (seen,) = served.seen
    assert seen.path == f"{LOG}?follow=1&offset=0"
    assert "Last-Event-ID" not in seen.headers


@pytest.mark.parametrize("broken", [Answer(drop=True), Answer(503, {"detail": "no"}, {"Retry-After": "0"}),
                                    events(), events(cut=True), events(FIRST[:-1], cut=True)])  # fmt: skip
def test_a_break_is_gone_on_from(broken: Answer) -> None:
    answers = [broken, events(FIRST, cut=True), broken, broken, events(SECOND), events(end())]
    with serving(ScriptedGateway(*answers)) as served, Client(served.url) as client:
        assert list(client.follow(ID, phase="execute", attempt=2, offset=0)) == PIECES
    last = [seen.headers.get("Last-Event-ID") for seen in served.seen]
    assert last == [None, None, "4@2", "4@2", "4@2", "9@2"]
    assert all("attempt=2" in seen.path for seen in served.seen)


def test_a_lost_attempt_names_the_next() -> None:
    lost = end(lost=True, next_attempt=3, state="pending")
    with serving(ScriptedGateway(events(lost))) as served, Client(served.url) as client:
        (said,) = client.follow(ID)
    assert isinstance(said, OutputEnd)
    assert (said.next_attempt, said.state) == (3, "pending")


def test_what_is_refused_is_not_tried_again() -> None:
    missing = Answer(404, {"detail": "there is no task", "code": "not_found"})
    with serving(ScriptedGateway(missing)) as served, Client(served.url) as client:
        with pytest.raises(Refusal, match="no task"):
            list(client.follow(ID))
        with pytest.raises(Refusal, match="no task"):
            list(client.read_output(ID))
    assert len(served.seen) == 2


def test_patience_ends() -> None:
    with serving(ScriptedGateway(events(cut=True))) as served, Client(served.url, patience_s=3.0) as client:
        with pytest.raises(Unavailable):
            list(client.follow(ID))
    assert len(served.seen) >= 2


def headers(offset: int) -> dict[str, str]:
    return {"X-Khala-Attempt": "2", "X-Khala-Offset": str(offset)}


def test_read_output() -> None:
    with serving(ScriptedGateway(Answer(200, raw=b"whole", headers=headers(0)))) as served:
        with Client(served.url) as client:
            assert list(client.read_output(ID, stream="stderr")) == [
                OutputPiece(attempt=2, offset=0, data=b"whole")
            ]
    assert served.seen[0].path == f"/api/v1/tasks/{ID}/logs/execute/stderr"


def test_a_broken_read_goes_on_by_range() -> None:
    """Of the same attempt; the answer that broke off had declared one byte more than it sent."""
    answers = [
        Answer(drop=True),
        Answer(200, raw=b"0123", headers=headers(10), cut=True),
        Answer(206, raw=b"4", headers=headers(0)),
    ]
    with serving(ScriptedGateway(*answers)) as served, Client(served.url) as client:
        pieces = list(client.read_output(ID, tail=5))
    assert b"".join(piece.data for piece in pieces) == b"01234"
    assert [piece.offset for piece in pieces] == [10, 14]
    first, again, rest = served.seen
    assert first.path.endswith("?tail=5")
    assert again.path.endswith("?tail=5")
    assert (rest.path, rest.headers["Range"]) == (f"{LOG}?attempt=2", "bytes=14-14")


def test_an_empty_output_is_no_piece() -> None:
    with serving(ScriptedGateway(Answer(200, headers=headers(0)))) as served, Client(served.url) as client:
        assert list(client.read_output(ID)) == []
