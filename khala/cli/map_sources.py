"""The values that `khala map` fills in: from its words, from files, from standard input. Read lazily, one row
after the other, in GNU parallel's order."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from khala.client.templates import filled
from khala.errors import ConfigurationError

_VALUES, _FILES = ":::", "::::"
_READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One task's values, its number from 1, and what is run."""

    number: int
    values: tuple[str, ...]
    command: str


def rows_of(words: Sequence[str]) -> Iterator[Row]:
    """The rows of a command line `CMD… ::: a b :::: FILE`; without a source, lines of standard input."""
    first = next((index for index, word in enumerate(words) if word in (_VALUES, _FILES)), len(words))
    command = " ".join(words[:first])
    for number, values in enumerate(_combined(list(_sources(words[first:]))), start=1):
        yield Row(number, values, filled(command, values, number))


def _sources(words: Sequence[str]) -> Iterator[Iterable[str]]:
    kind = ""
    if not words:
        yield lines_of("-")
    for kind, group in itertools.groupby(words, key=_Separators()):
        given = [word for word in group if word not in (_VALUES, _FILES)]
        if kind.startswith(_FILES):
            yield from (lines_of(file) for file in given)
        else:
            yield given


class _Separators:
    """The key of a word: the separator before it, told apart from an equal one elsewhere."""

    def __init__(self) -> None:
        self._key, self._count = "", 0

    def __call__(self, word: str) -> str:
        if word in (_VALUES, _FILES):
            self._count += 1
            self._key = f"{word} {self._count}"
        return self._key


def _combined(sources: Sequence[Iterable[str]]) -> Iterator[tuple[str, ...]]:
    if len(sources) == 1:
        return ((value,) for value in sources[0])
    return itertools.product(*sources)


def lines_of(file: str) -> Iterator[str]:
    """The lines of a file without their ends; - is standard input.

    Read by descriptor: a thread that waits in a buffered reader would hold up the end of the process.
    """
    rest = b""
    try:
        descriptor = os.dup(0) if file == "-" else os.open(Path(file), os.O_RDONLY)
        try:
            while data := os.read(descriptor, _READ_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                yield from (line.decode(errors="surrogateescape") for line in lines)
        finally:
            os.close(descriptor)
    except OSError as failure:
        raise ConfigurationError(f"cannot read {file}: {failure.strerror}") from failure
    if rest:
        yield rest.decode(errors="surrogateescape")
