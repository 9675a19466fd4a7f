"""What is kept of a task's output: exact head, tail and size, whatever is written."""

from __future__ import annotations

import random

import pytest
from execution.harness import Bench

from khala.execution.launching.capture import Capture

HEAD = TAIL = 32 * 1024


@pytest.mark.parametrize("chunk", [1, 3, 7, 16, 1000])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 14, 15, 16, 17, 31, 100])
def test_capture_of_any_size_in_any_chunks(size: int, chunk: int) -> None:
    stream = random.Random(size).randbytes(size)
    capture = Capture(8, 7)
    for at in range(0, size, chunk):
        capture.feed(stream[at : at + chunk])
    assert capture.size == size
    assert capture.truncated == (size > 15)
    assert capture.head == (stream[:8] if size > 15 else stream)
    assert capture.tail == (stream[-7:] if size > 15 else b"")


def test_no_output(bench: Bench) -> None:
    result = bench.shell("true")
    for stream in (result.stdout, result.stderr):
        assert (stream.size, stream.head, stream.tail, stream.truncated) == (0, b"", b"", False)


def test_binary_output_on_both_streams(bench: Bench) -> None:
    every_byte = bytes(range(256)) * 3
    result = bench.shell("tee /dev/stderr", stdin=every_byte)
    assert result.stdout.head == result.stderr.head == every_byte


@pytest.mark.parametrize(("size", "cut"), [(HEAD + TAIL, False), (HEAD + TAIL + 1, True), (11_000_000, True)])
def test_large_output(bench: Bench, size: int, cut: bool) -> None:
    result = bench.shell(f"seq 1 9999999 | head -c {size}")
    whole = b"".join(b"%d\n" % number for number in range(1, 1_600_000))[:size]
    assert len(whole) == size
    assert (result.stdout.size, result.stdout.truncated) == (size, cut)
    assert result.stdout.head == (whole[:HEAD] if cut else whole)
    assert result.stdout.tail == (whole[-TAIL:] if cut else b"")


def test_a_gigabyte_costs_no_memory(bench: Bench) -> None:
    before = bench.launcher_rss_bytes(0)
    result = bench.shell("head -c 1000000000 /dev/zero; echo -n end")
    assert result.stdout.size == 1_000_000_003
    assert result.stdout.tail.endswith(b"\0end")
    assert bench.launcher_rss_bytes(0) - before < 4 * 1024 * 1024


def test_output_just_before_the_end_is_not_lost(bench: Bench) -> None:
    for _ in range(10):
        result = bench.shell("head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2; kill -9 $$")
        assert (result.stdout.size, result.stderr.size) == (60000, 60000)
