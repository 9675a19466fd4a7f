"""The in-memory twin's tokens. It owns one dictionary; `MemoryStore` holds its lock around each call."""

from __future__ import annotations

from khala.errors import Refusal


class TokenTable:
    """Token digests with their name and role."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[str, str]] = {}

    def create_first(self, digest: str, name: str, role: str) -> bool:
        """Store the first token; False if there is any."""
        if self._tokens:
            return False
        self._tokens[digest] = (name, role)
        return True

    def create(self, digest: str, name: str, role: str) -> None:
        """Store one more; Refusal `conflict` if the digest is another token's."""
        if self._tokens.setdefault(digest, (name, role)) != (name, role):
            raise Refusal("another token has this digest", code="conflict", field="digest")

    def role_of(self, digest: str) -> tuple[str, str] | None:
        """(name, role), or None."""
        return self._tokens.get(digest)
