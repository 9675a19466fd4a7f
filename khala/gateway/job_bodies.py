"""The JSON that a job is made of, and the values that its array stands for. Pure.

An array is given in one of four ways; whichever it is, it becomes one row of texts for each task.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence

from msgspec import UNSET, UnsetType

from khala.core.sweeps import MAX_JOB_TASKS, MAX_VALUE_CHARS, Rows, check_names
from khala.errors import Refusal
from khala.gateway.schemas import Body, TaskBody

Value = str | bool | int | float


class RangeBody(Body, frozen=True):
    """Whole numbers from `start` to before `stop`."""

    stop: int
    start: int = 0
    step: int = 1


class ArrayBody(Body, frozen=True):
    """The values of a job's tasks: one of `range`, `values`, `matrix` (every combination, the last name
    changes first) and `csv` (text with a header line). `name` is that of the first two."""

    name: str = "value"
    range: RangeBody | UnsetType = UNSET
    values: list[Value] | UnsetType = UNSET
    matrix: dict[str, list[Value]] | UnsetType = UNSET
    csv: str | UnsetType = UNSET


class JobBody(Body, frozen=True):
    """A job to create: `task` is the template, in whose texts `{name}` and `{index}` stand for values."""

    task: TaskBody
    array: ArrayBody
    name: str = ""
    max_parallel: int | None = None
    max_failures: int | None = None


def rows_of(array: ArrayBody) -> tuple[tuple[str, ...], Rows]:
    """The names and the values; Refusal, before much is made of it, for too many or malformed ones."""
    given = [name for name in ("range", "values", "matrix", "csv") if getattr(array, name) is not UNSET]
    if len(given) != 1:
        raise _refused("give one of range, values, matrix and csv")
    if isinstance(array.range, RangeBody):
        names: tuple[str, ...] = (array.name,)
        values = _numbers(array.range)
    elif isinstance(array.values, list):
        _check_total(len(array.values))
        names, values = (array.name,), [[_text(value)] for value in array.values]
    elif isinstance(array.matrix, dict):
        names, values = tuple(array.matrix), _combinations(array.matrix)
    else:
        names, values = _lines(str(array.csv))
    check_names(names)
    _check_total(len(values))
    return names, Rows(values=values)


def _numbers(wanted: RangeBody) -> list[list[str]]:
    if not wanted.step:
        raise _refused("a range's step must not be 0")
    numbers = range(wanted.start, wanted.stop, wanted.step)
    _check_total(max(0, math.ceil((wanted.stop - wanted.start) / wanted.step)))
    return [[str(number)] for number in numbers]


def _combinations(matrix: Mapping[str, Sequence[Value]]) -> list[list[str]]:
    _check_total(math.prod(len(values) for values in matrix.values()) if matrix else 0)
    columns = [[_text(value) for value in values] for values in matrix.values()]
    return [list(row) for row in itertools.product(*columns)]


def _lines(text: str) -> tuple[tuple[str, ...], list[list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        rows = [row for row in itertools.islice(reader, MAX_JOB_TASKS + 1) if row]
    except csv.Error as error:
        raise _refused(f"csv: line {reader.line_num}: {error}") from None
    for place, row in enumerate(rows):
        if len(row) != len(header):
            raise _refused(f"csv: row {place} has {len(row)} values, the header has {len(header)}")
    return tuple(name.strip() for name in header), rows


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if len(text) > MAX_VALUE_CHARS:
        raise _refused(f"a value has at most {MAX_VALUE_CHARS} characters")
    return text


def _check_total(total: int) -> None:
    if total > MAX_JOB_TASKS:
        raise Refusal(f"array: at most {MAX_JOB_TASKS} tasks in one job", code="too_large", field="array")
    if total < 1:
        raise _refused("there are no values in it")


def _refused(problem: str) -> Refusal:
    return Refusal(f"array: {problem}", field="array")
