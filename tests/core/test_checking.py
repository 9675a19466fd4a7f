"""What each checker accepts, where the first difference is, and that no cut into chunks changes either."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khala.core.checking import Checker, Difference, first_difference

EXACT, TRIM, TOKENS, FLOAT = Checker
TEXTS = st.lists(st.sampled_from([b"a", b"b", b" ", b"\t", b"\r", b"\n", b"1", b"1.5", b"x" * 30])).map(
    b"".join
)


def check(expected: bytes, actual: bytes, checker: Checker, tolerance: float = 1e-6) -> Difference | None:
    return first_difference(expected, [actual], checker, tolerance)


@pytest.mark.parametrize(
    ("expected", "actual", "accepted"),
    [
        (b"1 2\n", b"1 2\n", "exact trim tokens float"),
        (b"1 2\n", b"1 2", "trim tokens float"),
        (b"1 2\n", b"1 2 \r\n\n \n", "trim tokens float"),
        (b"1 2\n", b"1  2\n", "tokens float"),
        (b"1 2\n", b"1\n2\n", "tokens float"),
        (b"1 2\n", b" 1 2\n", "tokens float"),
        (b"1 2\n", b"\n1 2\n", "tokens float"),
        (b"1 2\n", b"1.0 2e0\n", "float"),
        (b"1 2\n", b"12\n", ""),
        (b"1 2\n", b"1 2 3\n", ""),
        (b"1 2 3\n", b"1 2\n", ""),
        (b"Yes\n", b"yes\n", ""),
        (b"", b"", "exact trim tokens float"),
        (b"", b" \n\n", "trim tokens float"),
        (b"", b"x", ""),
        (b"a\n\nb\n", b"a\n \nb", "trim tokens float"),
        (b"a\n\nb\n", b"a\nb\n", "tokens float"),
        (b"\xff\x00\n", b"\xff\x00", "trim tokens float"),
    ],
)
def test_what_each_checker_accepts(expected: bytes, actual: bytes, accepted: str) -> None:
    found = [checker for checker in Checker if check(expected, actual, checker) is None]
    assert found == accepted.split()


@pytest.mark.parametrize(
    ("expected", "actual", "tolerance", "accepted"),
    [
        (b"100", b"100.00001", 1e-6, True),
        (b"1", b"1.000002", 1e-6, False),
        (b"0", b"1e-7", 1e-6, True),
        (b"1000", b"1001", 1e-3, True),
        (b"-.5", b"-0.50", 0.0, True),
        (b"+3.", b"3", 0.0, True),
        (b"1e400", b"1e400", 1.0, True),
        (b"1e400", b"2e400", 1.0, False),
        (b"nan", b"nan", 1.0, True),
        (b"nan", b"NaN", 1.0, False),
        (b"nan", b"1", 1e9, False),
        (b"inf", b"Infinity", 1.0, False),
        (b"inf", b"1e308", 1e9, False),
        (b"1_0", b"10", 0.0, False),
        (b"0x10", b"16", 0.0, False),
        (b"1", b"1.", 0.0, True),
        (b"1", b".", 1.0, False),
        (b"1", b"", 1.0, False),
        (b"0", b"0." + b"0" * 500, 1.0, False),
    ],
)
def test_numbers(expected: bytes, actual: bytes, tolerance: float, accepted: bool) -> None:
    assert (check(expected, actual, FLOAT, tolerance) is None) is accepted


@pytest.mark.parametrize(
    ("checker", "expected", "actual", "difference"),
    [
        (EXACT, b"ab\ncd\n", b"ab\ncx\n", (2, 2, "cd", "cx")),
        (EXACT, b"ab\n", b"ab", (1, 3, "ab\n", "")),
        (EXACT, b"ab", b"ab\n", (1, 3, "", "ab\n")),
        (EXACT, b"ab\ncd", b"ab cd", (1, 3, "ab\n", "ab cd")),
        (TRIM, b"a  \nb\n", b"a\nb c \n", (2, 2, "", "b c")),
        (TRIM, b"a\nb c\n", b"a \nb\n", (2, 2, "b c", "")),
        (TOKENS, b"1 2 3", b"1\n2  4", (2, 4, "3", "4")),
        (TOKENS, b"1 2 3", b"1 2\n", (2, 1, "3", "")),
        (TOKENS, b"1", b"1 2\n", (1, 3, "", "2")),
        (FLOAT, b"1 2", b"1.0\n2.5", (2, 1, "2", "2.5")),
    ],
)
def test_where_it_differs(
    checker: Checker, expected: bytes, actual: bytes, difference: tuple[object, ...]
) -> None:
    found = check(expected, actual, checker)
    assert found is not None
    assert (found.line, found.column, found.expected, found.actual) == difference


def test_excerpts_are_bounded_and_text() -> None:
    found = check(b"x" * 1000 + b"\xff" + b"y" * 1000, b"x" * 1000 + b"\xfe" * 1000, EXACT)
    assert found is not None and found.column == 1001
    assert found.expected == "x" * 20 + "\ufffd" + "y" * 59
    assert found.actual == "x" * 20 + "\ufffd" * 60
    assert len(check(b"1", b"z" * 5000, TOKENS).actual) == 80  # type: ignore[union-attr]


def plainly(text: bytes, checker: Checker) -> object:
    """The same by the book, in memory."""
    if checker is EXACT:
        return text
    if checker is TRIM:
        return re.sub(rb"[ \t\r\v\f]+(?=\n|$)", b"", text).rstrip(b"\n")
    return re.findall(rb"[^ \t\r\v\f\n]+", text)


@settings(deadline=None, database=None)
@given(
    expected=TEXTS,
    actual=TEXTS,
    cuts=st.lists(st.integers(1, 7)),
    checker=st.sampled_from([EXACT, TRIM, TOKENS]),
)
def test_as_by_the_book_whatever_the_chunks(
    expected: bytes, actual: bytes, cuts: list[int], checker: Checker
) -> None:
    chunks, rest = [], actual
    for cut in cuts:
        chunks.append(rest[:cut])
        rest = rest[cut:]
    found = first_difference(expected, [*chunks, b"", rest], checker, 0.0)
    assert (found is None) == (plainly(expected, checker) == plainly(actual, checker))
    whole = check(expected, actual, checker)
    assert (found and (found.line, found.column)) == (whole and (whole.line, whole.column))


@settings(deadline=None, database=None)
@given(text=TEXTS, checker=st.sampled_from(Checker))
def test_every_output_equals_itself(text: bytes, checker: Checker) -> None:
    assert check(text, text, checker) is None


@settings(deadline=None, database=None)
@given(wanted=st.floats(-1e12, 1e12), off=st.floats(-1, 1), tolerance=st.floats(1e-9, 1))
def test_a_number_within_the_tolerance_is_accepted(wanted: float, off: float, tolerance: float) -> None:
    actual = wanted + 0.999 * off * tolerance * max(1.0, abs(wanted))
    if abs(wanted - actual) <= tolerance * max(1.0, abs(wanted)):
        assert check(repr(wanted).encode(), repr(actual).encode(), FLOAT, tolerance) is None


@pytest.mark.parametrize("piece", [b" ", b"\n", b"x", b"1 ", b"\t\n"])
@pytest.mark.parametrize("checker", Checker)
def test_a_long_output_takes_little_memory(piece: bytes, checker: Checker) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(160):
            yield piece * (65_536 // len(piece))
        yield b"end"

    tracemalloc.start()
    try:
        assert first_difference(b"1 1 1", endless(), checker, 1e-6) is not None
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
