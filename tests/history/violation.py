"""How a broken invariant is told."""

from __future__ import annotations


class Violation(AssertionError):
    """An invariant of reliability.md, section 2, does not hold; `invariant` is its name (I1 … I20)."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant


def require(holds: bool, invariant: str, text: str, *details: object) -> None:
    """Raise a Violation unless `holds`; `text` is formatted with `details` only then."""
    if not holds:
        raise Violation(invariant, text.format(*details))
