"""The bookkeeping of a delivery: order, windows, answers that are lost, late or surprising."""

from __future__ import annotations

import random

import pytest

from khala.core.execution.delivering import AHEAD, IN_FLIGHT_MOST, Deliveries, Piece
from khala.core.output import StreamKey

A = StreamKey(task_id="a" * 24, attempt=1, phase="execute", stream="stdout")
B = StreamKey(task_id="a" * 24, attempt=1, phase="execute", stream="stderr")
ATTEMPT = (A.task_id, A.attempt)


def deliveries() -> Deliveries:
    """Pieces of 10 bytes."""
    return Deliveries(chunk_bytes=10)


def spans(pieces: list[Piece]) -> list[tuple[int, int]]:
    return [(piece.offset, piece.length) for piece in pieces]


def test_pieces_go_in_order_some_ahead() -> None:
    """A window of pieces; an answer makes room for the next."""
    each = deliveries()
    each.spooled(A, 55)
    sent = list(each.next_pieces(0.0))
    assert spans(sent) == [(0, 10), (10, 10), (20, 10), (30, 10)]
    assert list(each.next_pieces(0.0)) == []
    each.stored(sent[0], 10, 0.0)
    assert spans(list(each.next_pieces(0.0))) == [(40, 10)]


def test_a_piece_that_may_grow_waits_for_the_one_before() -> None:
    """Many small writes become few pieces; an ended attempt's last piece does not wait."""
    each = deliveries()
    each.spooled(A, 3)
    (small,) = each.next_pieces(0.0)
    each.spooled(A, 7)
    assert list(each.next_pieces(0.0)) == []
    each.spooled(A, 15)
    (full,) = each.next_pieces(0.0)
    assert (full.offset, full.length) == (3, 10)
    each.stored(small, 3, 0.0)
    assert list(each.next_pieces(0.0)) == []
    each.finish(*ATTEMPT, {A: 15})
    assert spans(list(each.next_pieces(0.0))) == [(13, 2)]


def test_so_much_is_on_its_way_and_no_more() -> None:
    """Of all streams together."""
    each = deliveries()
    keys = [StreamKey(task_id=f"{n:024x}", attempt=1, phase="execute", stream="stdout") for n in range(9)]
    for key in keys:
        each.spooled(key, 1_000)
    assert len(list(each.next_pieces(0.0))) == IN_FLIGHT_MOST < AHEAD * len(keys)


def test_a_failed_piece_is_sent_again_after_a_growing_pause() -> None:
    """And what was sent after it too, once all of it is answered."""
    each = deliveries()
    each.spooled(A, 30)
    now = 0.0
    for pause in (0.1, 0.2, 0.4):
        sent = list(each.next_pieces(now))
        assert spans(sent) == [(0, 10), (10, 10), (20, 10)]
        each.failed(sent[0], now)
        for piece in sent[1:]:
            each.stored(piece, 0, now)
        assert list(each.next_pieces(now + pause / 2)) == []
        now += 10.0


def test_a_gap_is_answered_with_the_offset_wanted() -> None:
    """Another judicator knows more, or less."""
    each = deliveries()
    each.spooled(A, 40)
    first, *rest = each.next_pieces(0.0)
    each.stored(first, 13, 0.0)
    for piece in rest:
        each.stored(piece, 13, 0.0)
    assert spans(list(each.next_pieces(9.0))) == [(13, 10), (23, 10)]


def test_an_attempt_is_delivered_when_its_last_byte_is_stored() -> None:
    """Told once; streams that its outcome holds inline are not waited for."""
    each = deliveries()
    each.spooled(A, 15)
    each.spooled(B, 4)
    sent = list(each.next_pieces(0.0))
    each.finish(*ATTEMPT, {A: 25})
    assert each.take_delivered() == []
    for piece in sent:
        each.stored(piece, piece.offset + piece.length, 0.0)
    assert each.take_delivered() == []
    for piece in each.next_pieces(0.0):
        assert piece.key == A
        each.stored(piece, 25, 0.0)
    assert each.take_delivered() == [(ATTEMPT, {A: 25})]
    assert each.take_delivered() == []


def test_an_earlier_life_asks_first_how_far_it_came() -> None:
    """And sends the rest."""
    each = deliveries()
    each.finish(*ATTEMPT, {A: 25})
    (question,) = each.next_pieces(0.0)
    assert (question.offset, question.length) == (0, 0)
    each.stored(question, 17, 0.0)
    (rest,) = each.next_pieces(0.0)
    assert (rest.offset, rest.length) == (17, 8)
    each.stored(rest, 25, 0.0)
    assert each.take_delivered() == [(ATTEMPT, {A: 25})]


def test_nothing_to_deliver_is_delivered() -> None:
    """An attempt that crashed before it wrote anything."""
    each = deliveries()
    each.finish(*ATTEMPT, {})
    assert each.take_delivered() == [(ATTEMPT, {})]


@pytest.mark.parametrize("refused", [False, True])
def test_what_cannot_be_had_or_is_refused_is_told_as_less(refused: bool) -> None:
    """A spool that got shorter; a store that will not take it."""
    each = deliveries()
    each.finish(*ATTEMPT, {A: 25})
    (question,) = each.next_pieces(0.0)
    each.stored(question, 0, 0.0)
    first, *rest = each.next_pieces(0.0)
    each.stored(first, 10, 0.0)
    for piece in rest:
        if refused:
            each.refused(piece)
        else:
            each.shrink(A, 10)
            each.failed(piece, 0.0)
    assert list(each.next_pieces(99.0)) == []
    assert each.take_delivered() == [(ATTEMPT, {A: 10})]


def test_what_is_dropped_is_forgotten_with_its_answers() -> None:
    """And makes room for others."""
    each = deliveries()
    each.spooled(A, 1_000)
    sent = list(each.next_pieces(0.0))
    each.finish(*ATTEMPT, {A: 1_000})
    each.drop(*ATTEMPT)
    for piece in sent:
        each.failed(piece, 0.0)
    assert list(each.next_pieces(99.0)) == [] == each.take_delivered()
    each.spooled(B, 1_000)
    assert len(list(each.next_pieces(99.0))) == AHEAD


@pytest.mark.parametrize("seed", range(200))
def test_every_stream_arrives_whole_whatever_happens_on_the_way(seed: int) -> None:
    """Answers lost after the fact, pieces lost before, by turns, with a spool that still grows."""
    rng = random.Random(seed)
    each, stored, now, spooled = deliveries(), 0, 0.0, 0
    total = rng.randint(1, 300)
    flying: list[Piece] = []
    while True:
        now += rng.choice((0.01, 0.5))
        if spooled < total:
            spooled = min(total, spooled + rng.randint(1, 60))
            each.spooled(A, spooled)
            if spooled == total:
                each.finish(*ATTEMPT, {A: total})
        flying += each.next_pieces(now)
        for piece in flying[: rng.randint(0, len(flying))]:
            flying.remove(piece)
            if rng.random() < 0.2:
                each.failed(piece, now)
                continue
            if piece.offset == stored:
                stored = piece.offset + piece.length
            if rng.random() < 0.2:
                each.failed(piece, now)
            else:
                each.stored(piece, stored, now)
        if delivered := each.take_delivered():
            assert delivered == [(ATTEMPT, {A: total})]
            assert stored == total
            return
        assert now < 1_000.0
