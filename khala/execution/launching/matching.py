"""Which files a job's globs name. The globs come parsed (`khala.core.globs`), as JSON has them.

A glob is followed part by part while directories are entered: what is kept is the set of its positions
that the path so far can be at, so `**` costs no backtracking.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

ANY_PARTS = "**"
ANY_CHARACTERS = "*"


class GlobPath:
    """How far a path has come in one glob."""

    def __init__(self, parts: Sequence[Any], positions: frozenset[int] | None = None) -> None:
        self._parts = parts
        self._positions = _through_any_parts(parts, {0} if positions is None else positions)

    @property
    def possible(self) -> bool:
        """Can a path below this one still match?"""
        return any(position < len(self._parts) for position in self._positions)

    @property
    def matches(self) -> bool:
        """Does the path match as it is?"""
        return len(self._parts) in self._positions

    def enter(self, name: str) -> GlobPath:
        """The path with one more part."""
        after: set[int] = set()
        for position in self._positions:
            if position == len(self._parts):
                continue
            part = self._parts[position]
            if part == ANY_PARTS:
                after.add(position)
            elif matches_part(part, name):
                after.add(position + 1)
        return GlobPath(self._parts, frozenset(after))


def matches_part(tokens: Sequence[Any], name: str) -> bool:
    """Does the name match the tokens of one part? At most their lengths multiplied."""
    at = token = 0
    star_token = star_at = -1
    while at < len(name):
        if token < len(tokens) and tokens[token] == ANY_CHARACTERS:
            star_token, star_at = token, at
            token += 1
        elif token < len(tokens) and _is_in(tokens[token], name[at]):
            token, at = token + 1, at + 1
        elif star_token >= 0:
            # Only the last `*` has to take more: an earlier one could not do better.
            star_at += 1
            token, at = star_token + 1, star_at
        else:
            return False
    return all(rest == ANY_CHARACTERS for rest in tokens[token:])


def _is_in(token: Sequence[Any], character: str) -> bool:
    negated, pairs = token
    found = any(pairs[n] <= character <= pairs[n + 1] for n in range(0, len(pairs), 2))
    return found is not negated


def _through_any_parts(parts: Sequence[Any], positions: frozenset[int] | set[int]) -> frozenset[int]:
    """With what `**` reaches by standing for no part at all."""
    reached, ahead = set(positions), list(positions)
    while ahead:
        position = ahead.pop()
        if position < len(parts) and parts[position] == ANY_PARTS and position + 1 not in reached:
            reached.add(position + 1)
            ahead.append(position + 1)
    return frozenset(reached)
