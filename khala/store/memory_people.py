"""The in-memory twin's tokens, users and record. `MemoryStore` holds its lock around each call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from khala.core.access import EXECUTOR, Identity, token_id
from khala.core.people import AuditEntry, AuditPage, Quota, TokenView, UserView
from khala.store import people


class PeopleTable:
    """Tokens by digest, nodes' with their role; users by name; the record in its order."""

    def __init__(self) -> None:
        self._tokens: dict[str, TokenView] = {}
        self._roles: dict[str, str] = {}
        self._users: dict[str, UserView] = {}
        self._audit: dict[int, AuditEntry] = {}
        self._entries = 0

    # --- tokens with a role of their own ---------------------------------------------------------

    def create_first(self, digest: str, name: str, role: str) -> bool:
        """Store the first token; False if there is any."""
        if self._tokens:
            return False
        self.create(digest, name, role)
        return True

    def create(self, digest: str, name: str, role: str) -> None:
        """Store one more; Refusal `conflict` if the digest is another token's."""
        if digest in self._tokens and self.role_of(digest) != (name, role):
            raise people.other_token()
        self._tokens[digest] = TokenView(id=token_id(digest), name=name, user=name)
        self._roles[digest] = role

    def role_of(self, digest: str) -> tuple[str, str] | None:
        """(name, role), or None."""
        role = self._roles.get(digest)
        return (self._tokens[digest].name, role) if role is not None else None

    # --- users and their tokens ------------------------------------------------------------------

    def identify(self, digest: str, at: float) -> Identity | None:
        """Who a token stands for."""
        token = self._tokens.get(digest)
        if token is None or (token.expires_at is not None and token.expires_at <= at):
            return None
        own_role = self._roles.get(digest, "")
        user = None if own_role == EXECUTOR else self._users.get(token.user)
        role = user.role if user else own_role
        if not role:
            return None
        quota = user.quota if user else Quota()
        return Identity(
            user=token.user, role=role, token_id=token.id, quota=quota, expires_at=token.expires_at
        )

    def touch(self, digest: str, at: float) -> None:
        """Note the use of a token."""
        token = self._tokens.get(digest)
        if token is not None and (token.last_used_at or 0.0) + people.TOUCH_EVERY_S <= at:
            self._tokens[digest] = replace(token, last_used_at=at)

    def put_user(self, name: str, role: str, quota: Quota | None, at: float, create_only: bool) -> UserView:
        """Make or change."""
        stored = self._users.get(name)
        if stored is None and not role:
            raise people.no_user(name)
        known = stored or UserView(name=name, role=role, created_at=at)
        wanted = replace(known, role=role or known.role, quota=known.quota if quota is None else quota)
        if create_only and stored is not None and stored != wanted:
            raise people.other_user(name)
        self._users[name] = wanted
        return wanted

    def users(self, name: str) -> Sequence[UserView]:
        """By name."""
        return [user for key, user in sorted(self._users.items()) if name in ("", key)]

    def delete_user(self, name: str) -> UserView:
        """Remove, tokens too."""
        user = self._users.pop(name, None)
        if user is None:
            raise people.no_user(name)
        late = self.tokens(name)
        self._drop(lambda token: token in late)
        return user

    def add_token(self, digest: str, token: TokenView) -> TokenView:
        """Store one more."""
        stored = self._tokens.get(digest)
        if stored is not None:
            if (stored.name, stored.user) != (token.name, token.user):
                raise people.other_token()
            return stored
        if token.user not in self._users:
            raise people.no_user(token.user)
        at = token.created_at
        self._drop(lambda old: old.user == token.user and old.expires_at is not None and old.expires_at <= at)
        own = [
            old for old in self._tokens.values() if old.user == token.user and old.session == token.session
        ]
        if token.session:
            late = sorted(own, key=lambda old: old.created_at)[: len(own) - people.MOST_SESSIONS + 1]
            self._drop(lambda old: old in late)
        elif len(own) >= people.MOST_TOKENS:
            raise people.too_many_tokens(token.user)
        self._tokens[digest] = token
        return token

    def tokens(self, user: str | None) -> Sequence[TokenView]:
        """The newest first."""
        found = [
            token
            for digest, token in self._tokens.items()
            if user in (None, token.user) and self._roles.get(digest) != EXECUTOR
        ]
        return sorted(found, key=lambda token: (-token.created_at, token.id))

    def revoke(self, id: str, user: str | None) -> TokenView:
        """Remove a token and its sessions."""
        found = next((token for token in self.tokens(user) if token.id == id), None)
        if found is None:
            raise people.no_token(id)
        self._drop(lambda token: token == found or token.parent == id)
        return found

    def _drop(self, goes: Callable[[TokenView], bool]) -> None:
        for digest in [digest for digest, token in self._tokens.items() if goes(token)]:
            del self._tokens[digest]
            self._roles.pop(digest, None)

    # --- the record ------------------------------------------------------------------------------

    def append(self, entries: Sequence[AuditEntry]) -> None:
        """Add."""
        for entry in entries:
            self._entries += 1
            self._audit[self._entries] = entry

    def read_audit(self, user: str, limit: int, page_token: str) -> AuditPage:
        """One page, newest first."""
        if page_token and not page_token.isdecimal():
            raise people.no_page()
        before = int(page_token) if page_token else self._entries + 1
        found = [
            (number, entry)
            for number, entry in reversed(self._audit.items())
            if number < before and user in ("", entry.user)
        ]
        more = str(found[limit - 1][0]) if len(found) > limit else ""
        return AuditPage(entries=tuple(entry for _, entry in found[:limit]), next_page_token=more)

    def trim(self, keep: int, before: float) -> int:
        """Forget the oldest."""
        surplus = max(0, len(self._audit) - keep)
        late = [
            n for place, (n, entry) in enumerate(self._audit.items()) if place < surplus or entry.at < before
        ]
        for number in late:
            del self._audit[number]
        return len(late)
