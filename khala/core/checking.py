"""Does a program's output equal what was expected of it? Pure, and streaming over the output.

The checkers, over bytes, whatever their encoding:

- `exact`: the same bytes.
- `trim`: the same bytes after blanks at the end of each line, and empty lines at the end of all, are
  left out on both sides. A blank is a space, tab, carriage return, vertical tab or form feed.
- `tokens`: the same words in the same order; words are what blanks and line feeds separate. This is the
  default validator of the ICPC problem package format, with `case_sensitive`.
- `float`: as `tokens`, but two words that both are decimal numbers (`-1`, `.5`, `3.`, `6.02e23`) are equal
  too when they differ by at most the tolerance, or by at most the tolerance times the expected number:
  that format's `float_tolerance`. In double precision (IEEE 754). `nan`, `inf`, a number beyond double
  precision and one of more than 400 characters are words like any other.

The expected output lies in memory; of the actual one never more than a chunk and as much as is expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import NamedTuple

EXCERPT_BYTES = 80
EXCERPT_BEFORE_BYTES = 20
MAX_NUMBER_BYTES = 400
DEFAULT_TOLERANCE = 1e-6

_BLANKS = b" \t\r\v\f"
_SPACE = _BLANKS + b"\n"
_WORD = re.compile(rb"[^ \t\r\v\f\n]+")
_NUMBER = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Checker(StrEnum):
    """How an output is compared with what was expected."""

    EXACT = "exact"
    TRIM = "trim"
    TOKENS = "tokens"
    FLOAT = "float"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first place where an output is not what was expected: line and column (in bytes) from 1.

    The excerpts are of that place, cut; "" is the end of the output. Bytes that are no text are replaced.
    """

    line: int
    column: int
    expected: str
    actual: str


def first_difference(
    expected: bytes, actual: Iterable[bytes], checker: Checker, tolerance: float
) -> Difference | None:
    """The first difference of `actual`, given in chunks, or None when the checker accepts it."""
    if checker is Checker.EXACT:
        return _differing_bytes(expected, iter(actual))
    if checker is Checker.TRIM:
        return _differing_bytes(
            b"".join(_trimmed([expected], len(expected))), _trimmed(actual, len(expected))
        )
    return _differing_words(expected, actual, tolerance if checker is Checker.FLOAT else None)


def _differing_bytes(expected: bytes, actual: Iterator[bytes]) -> Difference | None:
    at = 0
    for chunk in actual:
        if expected[at : at + len(chunk)] != chunk:
            same = _common_bytes(expected[at : at + len(chunk)], chunk)
            return _difference_at(expected, at + same, chain([chunk[same:]], actual))
        at += len(chunk)
    return _difference_at(expected, at, iter(())) if at < len(expected) else None


def _common_bytes(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def _difference_at(expected: bytes, at: int, rest: Iterator[bytes]) -> Difference:
    """Up to `at` both are equal; there the expected one ends, or `rest` goes on otherwise."""
    line_start = expected.rfind(b"\n", 0, at) + 1
    start = max(line_start, at - EXCERPT_BEFORE_BYTES)
    shown = b""
    for chunk in rest:
        shown += chunk[:EXCERPT_BYTES]
        if len(shown) >= EXCERPT_BYTES or b"\n" in shown:
            break
    before = expected[start:at]
    return Difference(
        line=expected.count(b"\n", 0, at) + 1,
        column=at - line_start + 1,
        expected=_excerpt(before, expected[at : at + EXCERPT_BYTES]),
        actual=_excerpt(before, shown),
    )


def _excerpt(before: bytes, rest: bytes) -> str:
    """To the end of the line, which is shown when it is the first thing that differs."""
    end = rest.find(b"\n")
    line = rest if end < 0 else rest[: max(end, 1)]
    return (before + line)[:EXCERPT_BYTES].decode(errors="replace") if rest else ""


def _trimmed(chunks: Iterable[bytes], keep: int) -> Iterator[bytes]:
    """What `trim` compares. Of blanks whose line may go on no more than `keep` + 1 are held: with that
    many it is different anyway."""
    held = b""
    for chunk in chunks:
        data = held + chunk
        body = data.rstrip(_SPACE)
        if body:
            *lines, last = body.split(b"\n")
            yield b"\n".join([*(line.rstrip(_BLANKS) for line in lines), last])
        held = data[len(body) :]
        if b"\n" in held:
            held = b"\n" * held.count(b"\n") + held[held.rfind(b"\n") + 1 :]
        held = held[: keep + 1]


class _Word(NamedTuple):
    """A word of the output and where it begins; it may be only the first part of a very long one."""

    text: bytes
    line: int
    column: int


def _differing_words(expected: bytes, actual: Iterable[bytes], tolerance: float | None) -> Difference | None:
    wanted = (found[0] for found in _WORD.finditer(expected))
    words = _words(actual, keep=max(len(expected), MAX_NUMBER_BYTES))
    for word in words:
        text = next(wanted, b"")
        if not word.text and not text:
            return None
        if text != word.text and not (tolerance is not None and _close(text, word.text, tolerance)):
            return Difference(
                line=word.line,
                column=word.column,
                expected=text[:EXCERPT_BYTES].decode(errors="replace"),
                actual=word.text[:EXCERPT_BYTES].decode(errors="replace"),
            )
    raise AssertionError("the end of the output is a word too")


def _words(chunks: Iterable[bytes], keep: int) -> Iterator[_Word]:
    """The words, at last an empty one at the end of the output. Of a word longer than `keep` bytes the
    first `keep` + 1 come, which no expected word equals."""
    line, offset, line_start, word = 1, 0, 0, None
    for chunk in chunks:
        if word is not None and chunk and chunk[0] in _SPACE:
            yield word
            word = None
        seen = 0
        for found in _WORD.finditer(chunk):
            if newlines := chunk.count(b"\n", seen, found.start()):
                line, line_start = line + newlines, offset + chunk.rfind(b"\n", seen, found.start()) + 1
            seen = found.end()
            if word is not None:
                word = word._replace(text=(word.text + found[0])[: keep + 1])
            else:
                word = _Word(found[0][: keep + 1], line, offset + found.start() - line_start + 1)
            if seen < len(chunk):
                yield word
                word = None
        if newlines := chunk.count(b"\n", seen):
            line, line_start = line + newlines, offset + chunk.rfind(b"\n") + 1
        offset += len(chunk)
    if word is not None:
        yield word
    yield _Word(b"", line, offset - line_start + 1)


def _close(expected: bytes, actual: bytes, tolerance: float) -> bool:
    if not (_is_number(expected) and _is_number(actual)):
        return False
    wanted, found = float(expected), float(actual)
    if not (math.isfinite(wanted) and math.isfinite(found)):
        return False
    return abs(wanted - found) <= max(tolerance, tolerance * abs(wanted))


def _is_number(word: bytes) -> bool:
    return len(word) <= MAX_NUMBER_BYTES and _NUMBER.fullmatch(word) is not None
