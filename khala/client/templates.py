"""Commands with places to fill, in the manner of GNU parallel. Pure.

`{}` is the value (all of them, where there are several), `{.}` without its suffix, `{/}` its last part,
`{//}` its folder, `{/.}` the last part without suffix, `{#}` the number of the task. `{2}`, `{2.}`, … are of
the second value alone. Values go into a shell command quoted, into a list of arguments as they are.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_PLACE = re.compile(r"\{(\d*)(\.|//|/\.|/|)\}|\{#\}")


def filled(command: str, values: Sequence[str], number: int) -> str:
    """A shell command for `values`; they are appended when it has no place for them.

    >>> filled("convert {} {/.}.png # {#}", ["my pictures/a.jpg"], 7)
    "convert 'my pictures/a.jpg' a.png # 7"
    >>> filled("diff {1} {2}", ["a", "b"], 1)
    'diff a b'
    >>> filled("echo", ["x y"], 1)
    "echo 'x y'"
    """
    return _fill(command, values, number, shlex.quote)


def filled_words(command: Sequence[str], values: Sequence[str], number: int) -> list[str]:
    """The same for a command that is a list of arguments and sees no shell.

    >>> filled_words(["wc", "-l", "{}"], ["my file"], 1)
    ['wc', '-l', 'my file']
    """
    if any(_PLACE.search(word) for word in command):
        return [_fill(word, values, number, str) if _PLACE.search(word) else word for word in command]
    return [*command, *values]


def filled_task(
    command: str | Sequence[str], values: Sequence[str], number: int, task: Mapping[str, Any]
) -> dict[str, Any]:
    """`task` with the filled command as what it executes."""
    fill: Callable[..., object] = filled if isinstance(command, str) else filled_words
    return {**task, "execute": {**task.get("execute", {}), "command": fill(command, values, number)}}


def _fill(command: str, values: Sequence[str], number: int, quoted: Callable[[str], str]) -> str:
    def put(place: re.Match[str]) -> str:
        if place[0] == "{#}":
            return str(number)
        index = int(place[1]) if place[1] else 0
        if index > len(values):
            return place[0]
        chosen = values[index - 1 : index] if index else values
        return " ".join(quoted(_part(value, place[2])) for value in chosen)

    if not _PLACE.search(command):
        return " ".join([command, *(quoted(value) for value in values)]) if command else " ".join(values)
    return _PLACE.sub(put, command)


def _part(value: str, which: str) -> str:
    folder, slash, last = value.rpartition("/")
    stem = re.sub(r"(?<=.)\.[^.]*$", "", last)
    match which:
        case "/":
            return last
        case "/.":
            return stem
        case "//":
            return (folder or "/") if slash else "."
        case ".":
            return folder + slash + stem
    return value
