"""Globs that name the output files of a task, parsed once into what a launcher matches with. Pure.

A glob is a relative path in which `*` stands for any characters within one part, `?` for any one, `[a-z]`
and `[!a-z]` for one of a set, and a whole part `**` for any number of parts, none too. A leading dot is
nothing special, case counts, and there is no escape but a set of one, such as `[*]`.

Matching (`khala.execution.launching.matching`) takes time in proportion to glob times path; nothing
of it backtracks over more than one `*`.
"""

from __future__ import annotations

from khala.errors import Refusal

MAX_GLOB_BYTES = 1024
MAX_GLOB_PARTS = 32

ANY_PARTS = "**"
ANY_CHARACTERS = "*"

Token = str | tuple[bool, str]
"""`*`, or one character: whether it must not be of the set, and the set, as pairs of first and last."""
Part = str | tuple[Token, ...]
"""`**`, or the tokens of one part."""
ANY_CHARACTER: Token = (True, "")


def parse_glob(glob: str) -> tuple[Part, ...]:
    """The parts of a glob; Refusal (without a field) says what is wrong with it."""
    if not glob or glob.startswith("/"):
        raise Refusal("expected a relative glob")
    if "\\" in glob or any(character < " " or character == "\x7f" for character in glob):
        raise Refusal("a glob must not contain backslashes or control characters")
    try:
        size = len(glob.encode())
    except UnicodeEncodeError:
        raise Refusal("text must be valid Unicode") from None
    parts = glob.split("/")
    if size > MAX_GLOB_BYTES or len(parts) > MAX_GLOB_PARTS:
        raise Refusal(f"a glob has at most {MAX_GLOB_BYTES} bytes and {MAX_GLOB_PARTS} parts")
    if any(part in ("", ".", "..") for part in parts):
        raise Refusal("a glob must not contain empty, `.` or `..` parts")
    return tuple(_part(part) for part in parts)


def _part(part: str) -> Part:
    if part == ANY_PARTS:
        return ANY_PARTS
    if ANY_PARTS in part:
        raise Refusal("`**` must be a whole part, as in `out/**/*.txt`")
    tokens: list[Token] = []
    at = 0
    while at < len(part):
        if part[at] == "[":
            token, at = _set(part, at)
            tokens.append(token)
            continue
        tokens.append({"*": ANY_CHARACTERS, "?": ANY_CHARACTER}.get(part[at], (False, part[at] * 2)))
        at += 1
    return tuple(tokens)


def _set(part: str, start: int) -> tuple[Token, int]:
    """The set that begins at `start`, and where it has ended; `]` as its first character is one of it."""
    at = start + 1
    negated = part[at : at + 1] in ("!", "^")
    at += negated
    end = part.find("]", at + 1)
    if end < 0:
        raise Refusal("a `[` without its `]`; one that is meant is `[[]`")
    pairs = ""
    while at < end:
        first, last = part[at], part[at]
        if part[at + 1] == "-" and at + 2 < end:
            last = part[at + 2]
        if last < first:
            raise Refusal(f"the range `{first}-{last}` runs backwards")
        at += 3 if part[at + 1] == "-" and at + 2 < end else 1
        pairs += first + last
    return (negated, pairs), end + 1
