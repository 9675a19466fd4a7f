"""Users, tokens and the record of who did what, on every judicator. Its thread blocks in the store.

The front door has authorised and narrowed whatever comes here. The record is written in batches, after
what it tells of was admitted: it says who asked for what, and the tasks' own stories say what became of
it. It is bounded, in the store and while it waits to be written.
"""

from __future__ import annotations

import re
from dataclasses import replace

from khala.actors.actor import NodeActor, Stage
from khala.actors.answering import reply_of
from khala.actors.messages import AccountsChanged, AskAccounts, Began, CallsAnswered, Flush, NoteAction
from khala.bus.envelope import Envelope
from khala.core.access import ADMIN, ROLES, Identity, token_id
from khala.core.people import (
    AuditEntry,
    CreateToken,
    DeleteUser,
    GetMe,
    ListAudit,
    ListTokens,
    ListUsers,
    Me,
    PutUser,
    Quota,
    RevokeToken,
    TokenView,
    TokenViews,
    UserView,
    UserViews,
)
from khala.errors import Fault, Refusal, Unavailable
from khala.store.interface import PeopleStore

KEPT_ENTRIES = 100_000
TRIM_EVERY = 1_000
MOST_UNWRITTEN = 10_000
MOST_ENTRIES_READ = 1_000
SESSION_S = 12 * 3600.0
MAX_TOKEN_NAME_CHARS = 100
_USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Accounts(NodeActor):
    """Answers the clients' envelopes itself."""

    def __init__(self, stage: Stage, *, store: PeopleStore) -> None:
        super().__init__(stage, "accounts")
        self._store = store
        self._unwritten: list[AuditEntry] = []
        self._flushing = False
        self._until_trim = 0

    def begin(self) -> None:
        """What was sent to an earlier one is no longer on its way."""
        self.tell("judicator", Began(self.name))

    def end(self) -> None:
        """Write what is left of the record."""
        self._write()

    def handle_ask_accounts(self, ask: AskAccounts, envelope: Envelope) -> None:
        """Carry out a command about people, and answer."""
        try:
            answer = self._answer(ask.envelope.payload, ask.who)
        except (Refusal, Unavailable) as why:
            answer = reply_of(why)
        self.reply(ask.envelope, answer)
        self.tell("judicator", CallsAnswered(self.name, 1, 0))

    def _answer(self, asked: object, who: Identity) -> object:
        match asked:
            case GetMe():
                return self._me(who)
            case ListUsers():
                users = self._store.users(asked.name)
                return UserViews(users=tuple(self._with_usage(user) for user in users))
            case PutUser():
                return UserViews(users=(self._put_user(asked, who),))
            case DeleteUser():
                _refuse_own(asked.name, who)
                gone = self._store.delete_user(asked.name)
                self._changed(who, "users.delete", asked.name)
                return UserViews(users=(gone,))
            case CreateToken():
                return TokenViews(tokens=(self._create_token(asked, who),))
            case ListTokens():
                return TokenViews(tokens=tuple(self._store.tokens(asked.owner)))
            case RevokeToken():
                revoked = self._store.revoke_token(asked.id or who.token_id, asked.owner)
                self._changed(who, "tokens.revoke", revoked.id, revoked.user)
                return TokenViews(tokens=(revoked,))
            case ListAudit():
                if not 1 <= asked.limit <= MOST_ENTRIES_READ:
                    raise Refusal(f"limit must be between 1 and {MOST_ENTRIES_READ}", field="limit")
                return self._store.read_audit(asked.user, asked.limit, asked.page_token)
            case _:
                raise Fault(f"accounts has no answer to {type(asked).__name__}")

    # --- users and tokens ------------------------------------------------------------------------

    def _me(self, who: Identity) -> Me:
        if not who.user:
            return Me(user=UserView(name="", role=who.role))
        token = next((token for token in self._store.tokens(who.user) if token.id == who.token_id), None)
        stored = self._store.users(who.user)
        user = stored[0] if stored else UserView(name=who.user, role=who.role)
        return Me(user=self._with_usage(user), token=token)

    def _with_usage(self, user: UserView) -> UserView:
        return replace(user, usage=self._store.usage(user.name))

    def _put_user(self, put: PutUser, who: Identity) -> UserView:
        if not _USER_NAME.fullmatch(put.name):
            raise Refusal(
                "a user's name has 1 to 64 letters, digits, dots, hyphens, underlines or @", field="name"
            )
        if put.role not in ("", *ROLES):
            raise Refusal(f"role must be one of {', '.join(ROLES)}", field="role")
        if put.role not in ("", ADMIN):
            _refuse_own(put.name, who)
        if put.quota is not None:
            _check_quota(put.quota)
        user = self._store.put_user(
            put.name, put.role, put.quota, self.now().unix_s, create_only=put.create_only
        )
        self._changed(who, "users.put", put.name, f"role {user.role}, {user.quota}")
        return self._with_usage(user)

    def _create_token(self, asked: CreateToken, who: Identity) -> TokenView:
        user = asked.user or who.user
        if not user:
            raise Refusal("name the user that the token is for", field="user")
        if user != who.user and (who.role != ADMIN or asked.session):
            raise Refusal("only an administrator makes tokens of others", code="forbidden", field="user")
        if not _DIGEST.fullmatch(asked.digest):
            raise Refusal("digest is the SHA-256 of the token's text", field="digest")
        if not asked.name.strip() or len(asked.name) > MAX_TOKEN_NAME_CHARS or not asked.name.isprintable():
            raise Refusal(
                f"a token's name has 1 to {MAX_TOKEN_NAME_CHARS} printable characters", field="name"
            )
        at = self.now().unix_s
        if asked.expires_at is not None and not at < asked.expires_at < 1e11:
            raise Refusal("expires_at must lie ahead", field="expires_at")
        if user == who.user and not self._store.users(user):
            # The first administrator's token came before any user.
            self._store.put_user(user, who.role, None, at)
        ends = [end for end in (asked.expires_at, *self._ends_of_session(asked, who, at)) if end is not None]
        token = TokenView(
            id=token_id(asked.digest),
            name=asked.name,
            user=user,
            created_at=at,
            expires_at=min(ends, default=None),
            session=asked.session,
            parent=who.token_id if asked.session else "",
        )
        stored = self._store.add_token(asked.digest, token)
        self._note(who, "login" if asked.session else "tokens.create", token.id, f"{user}: {token.name}")
        return stored

    def _ends_of_session(self, asked: CreateToken, who: Identity, at: float) -> tuple[float | None, ...]:
        return (at + SESSION_S, who.expires_at) if asked.session else ()

    def _changed(self, who: Identity, action: str, target: str, detail: str = "") -> None:
        """Note it, and have this judicator forget what it remembers of tokens."""
        self._note(who, action, target, detail)
        self.tell("judicator", AccountsChanged())

    # --- the record ------------------------------------------------------------------------------

    def handle_note_action(self, note: NoteAction, envelope: Envelope) -> None:
        """Somebody was let in to change something."""
        self._note(note.who, note.action, note.target, note.detail)

    def _note(self, who: Identity, action: str, target: str, detail: str = "") -> None:
        entry = AuditEntry(
            at=self.now().unix_s,
            user=who.user,
            token=who.token_id,
            action=action,
            target=target,
            detail=detail,
        )
        if len(self._unwritten) >= MOST_UNWRITTEN:
            self.log.error("the record has no room: an entry is only here", entry=entry)
            return
        self._unwritten.append(entry)
        if not self._flushing:
            self._flushing = True
            self.tell(self.name, Flush())

    def handle_flush(self, flush: Flush, envelope: Envelope) -> None:
        """Write what has gathered; what could not be written waits for the next entry."""
        self._flushing = False
        self._write()

    def _write(self) -> None:
        entries, self._unwritten = self._unwritten, []
        if not entries:
            return
        try:
            self._store.append_audit(entries)
            self._until_trim -= len(entries)
            if self._until_trim <= 0:
                self._until_trim = TRIM_EVERY
                self._store.trim_audit(KEPT_ENTRIES)
        except Unavailable as why:
            self.log.warning("the record waits to be written", entries=len(entries), reason=str(why))
            self._unwritten = entries + self._unwritten


def _refuse_own(name: str, who: Identity) -> None:
    """Whoever is the last administrator cannot be locked out by themselves."""
    if name == who.user:
        raise Refusal(
            "this is your own user: another administrator must do it", code="conflict", field="name"
        )


def _check_quota(quota: Quota) -> None:
    for field in ("queued", "running", "stored_bytes"):
        bound = getattr(quota, field)
        if bound is not None and not 0 <= bound < 2**53:
            raise Refusal(f"{field} must be 0 or more", field=f"quota.{field}")
