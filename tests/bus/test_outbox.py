"""The bounded queue of one peer."""

from __future__ import annotations

from khala.bus.outbox import Outbox


def outbox(*, envelopes: int = 100, size: int = 1000) -> Outbox:
    return Outbox(max_envelopes=envelopes, max_bytes=size)


def test_it_refuses_beyond_each_bound_and_takes_again_after() -> None:
    by_count, by_bytes = outbox(envelopes=2), outbox(size=10)
    assert [by_count.put(b"x", 0.0) for _ in range(3)] == [True, True, False]
    assert [by_bytes.put(b"xxxxx", 0.0) for _ in range(3)] == [True, True, False]
    assert by_bytes.take(5, 0.0) == ([b"xxxxx"], 0)
    assert by_bytes.put(b"yyyyy", 0.0)
    assert by_bytes.waiting == (2, 10)


def test_a_batch_stays_under_its_target_but_a_big_one_travels_alone() -> None:
    box = outbox()
    for item in (b"aa", b"bb", b"c" * 50, b"dd"):
        box.put(item, 0.0)
    batches = [box.take(10, 0.0)[0] for _ in range(4)]
    assert batches == [[b"aa", b"bb"], [b"c" * 50], [b"dd"], []]


def test_what_is_too_late_is_dropped_and_told() -> None:
    box = outbox()
    for deadline in (5.0, 0.0, 20.0):
        box.put(str(deadline).encode(), deadline)
    assert box.take(100, 10.0) == ([b"0.0", b"20.0"], 1)
    assert box.waiting == (0, 0)


def test_a_closed_one_takes_nothing() -> None:
    box = outbox()
    box.put(b"x", 0.0)
    assert box.close() == 1
    assert not box.put(b"x", 0.0)
    assert box.take(10, 0.0) == ([], 0)
