"""The contract of output streams: no gaps, no matter what is sent twice, late or by two at once."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from khala.core.output import CHUNK_BYTES, OutputChunk, StreamKey

KEY = StreamKey(task_id="a" * 24, attempt=1, phase="execute", stream="stdout")


def key(**other: Any) -> StreamKey:
    return StreamKey(**{"task_id": "a" * 24, "attempt": 1, "phase": "execute", "stream": "stdout", **other})


def chunk(offset: int, data: bytes, of: StreamKey = KEY) -> OutputChunk:
    return OutputChunk(key=of, offset=offset, data=data)


def test_a_stream_grows_and_is_read_in_ranges(store: Any) -> None:
    whole = random.Random(1).randbytes(CHUNK_BYTES + 1000)
    assert list(store.put_output([chunk(0, whole[:10]), chunk(10, whole[10:1000])])) == [1000, 1000]
    assert list(store.put_output([chunk(1000, whole[1000:])])) == [len(whole)]
    for offset, length in ((0, len(whole)), (0, 5), (5, 10), (9, 1), (10, 1), (999, 2), (1000, 700_000)):
        assert store.read_output(KEY, offset, length) == whole[offset : offset + length]
    assert store.read_output(KEY, len(whole), 10) == store.read_output(KEY, 0, 0) == b""
    assert list(store.output_sizes([KEY, key(attempt=2)])) == [len(whole), 0]


def test_the_generation_is_that_of_the_epochs(store: Any) -> None:
    assert store.generation() == store.take_epoch("a").generation


def test_what_is_there_or_beyond_changes_nothing(store: Any) -> None:
    store.put_output([chunk(0, b"01234")])
    assert list(store.put_output([chunk(0, b"01234"), chunk(0, b"other"), chunk(3, b"xxxx")])) == [5, 5, 5]
    assert list(store.put_output([chunk(6, b"gap"), chunk(7, b"x")])) == [5, 5]
    assert list(store.put_output([chunk(6, b"7"), chunk(5, b"5"), chunk(6, b"6")])) == [7, 7, 7]
    assert store.read_output(KEY, 0, 100) == b"0123456"


def test_an_empty_chunk_asks_how_far_the_stream_is(store: Any) -> None:
    assert list(store.put_output([chunk(0, b"")])) == [0]
    store.put_output([chunk(0, b"abc")])
    assert list(store.put_output([chunk(3, b""), chunk(0, b"")])) == [3, 3]
    assert store.read_output(KEY, 0, 10) == b"abc"


def test_which_streams_have_more_than_was_seen(store: Any) -> None:
    silent = key(attempt=9)
    store.put_output([chunk(0, b"0123"), chunk(4, b"4567"), chunk(0, b"err", key(stream="stderr"))])
    assert set(store.outputs_beyond([(KEY, 4), (silent, 0), (key(stream="stderr"), 3)])) == {KEY}
    assert list(store.outputs_beyond([(KEY, 8), (silent, 0)])) == list(store.outputs_beyond([])) == []
    store.put_output([chunk(8, b"8"), chunk(0, b"x", silent)])
    assert set(store.outputs_beyond([(KEY, 8), (silent, 0)])) == {KEY, silent}


@pytest.mark.parametrize(
    "other",
    [{"task_id": "b" * 24}, {"attempt": 2}, {"attempt": 10}, {"phase": "compile"}, {"stream": "stderr"}],
)
def test_streams_are_kept_apart(store: Any, other: dict[str, Any]) -> None:
    neighbour = key(**other)
    store.put_output([chunk(0, b"mine"), chunk(0, b"yours", neighbour), chunk(4, b"!")])
    assert store.read_output(KEY, 0, 100) == b"mine!"
    assert store.read_output(neighbour, 0, 100) == b"yours"
    assert list(store.output_sizes([neighbour, KEY])) == [5, 5]


def test_two_at_once_make_one_stream(store: Any) -> None:
    """Two judicators store one stream, cut differently: its executor changed from one to the other."""
    whole = random.Random(2).randbytes(3_000)

    def put(step: int) -> None:
        at = 0
        while at < len(whole):
            at = store.put_output([chunk(at, whole[at : at + step])])[0]

    threads = [threading.Thread(target=put, args=(step,)) for step in (70, 110, 130)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert store.read_output(KEY, 0, 10_000) == whole
