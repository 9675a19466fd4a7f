"""A command about several things: each is told, whatever comes of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from khala.cli.exits import Exit, note
from khala.cli.output import print_json
from khala.errors import Refusal


def tell_each(ids: Sequence[str], tell: Callable[[str], tuple[object, str]], *, as_json: bool) -> int:
    """Call `tell` for each id and print the line that it answers, or all its JSON answers at the end.

    What is refused is told on stderr and makes the exit code `Exit.REFUSED`; it is not raised.
    """
    answers: list[object] = []
    code = Exit.OK
    for each in ids:
        try:
            answer, line = tell(each)
        except Refusal as refusal:
            code = Exit.REFUSED
            note(f"khala: {each}: {refusal}")
            answers.append({"id": each, "error": {"code": refusal.code, "detail": refusal.detail}})
            continue
        answers.append(answer)
        if not as_json:
            click.echo(line)
    if as_json:
        print_json({"results": answers})
    return code
