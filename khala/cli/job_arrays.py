"""The array of a job from the options of `khala job submit`. Pure but for reading a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from khala.errors import ConfigurationError


def array_of(numbers: str | None, values: Sequence[str], csv: str | None) -> dict[str, Any]:
    """The `array` of `POST /jobs`; one of the three must be given."""
    if sum((numbers is not None, bool(values), csv is not None)) != 1:
        raise ConfigurationError("give one of --range, --values and --csv: they say which tasks there are")
    if numbers is not None:
        return {"range": _range(numbers)}
    if csv is not None:
        return {"csv": _text(csv)}
    lists = {}
    for text in values:
        name, equals, listed = text.partition("=")
        if not equals or not name or not listed:
            raise ConfigurationError(f"--values: {text!r} is not a list such as x=1,2,3")
        lists[name] = listed.split(",")
    if len(lists) < len(values):
        raise ConfigurationError("--values: each name once: put all its values behind it")
    if len(lists) == 1:
        ((name, only),) = lists.items()
        return {"name": name, "values": only}
    return {"matrix": lists}


def _range(text: str) -> dict[str, int]:
    """`STOP`, `START:STOP` or `START:STOP:STEP`.

    >>> _range("5:20:5")
    {'start': 5, 'stop': 20, 'step': 5}
    """
    parts = text.split(":")
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    match numbers:
        case [stop]:
            return {"stop": stop}
        case [start, stop]:
            return {"start": start, "stop": stop}
        case [start, stop, step]:
            return {"start": start, "stop": stop, "step": step}
    raise ConfigurationError(f"--range: {text!r} is not a range such as 100, 1:101 or 0:100:5")


def _text(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except OSError as failure:
        raise ConfigurationError(f"--csv: cannot read {file}: {failure.strerror}") from failure
    except UnicodeDecodeError as failure:
        raise ConfigurationError(f"--csv: {file} is not UTF-8 text") from failure
