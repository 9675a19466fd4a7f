"""Users, their tokens and the record of who did what, in MongoDB. Any thread may call.

A token is one document, by digest. One with a `role` of its own needs no user: a node's, and the first
administrator's; its name then is its user, who may be stored all the same, and whose role counts.
Single writes only, so that nothing here waits for, or holds up, the leader's transactions.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.errors import DuplicateKeyError

from khala.core.access import EXECUTOR, Identity, token_id
from khala.core.people import AuditEntry, AuditPage, Quota, TokenView, Usage, UserView
from khala.core.task import ACTIVE, State
from khala.store import people
from khala.store.mongo.client import Connection, Document
from khala.store.mongo.schema import AUDIT, FILES, OWNER_INDEX, TASKS, TOKENS, USERS

_PEOPLES: Document = {"role": {"$ne": EXECUTOR}}
_AUDIT_KEY = re.compile(r"[0-9a-f]{24}")


class MongoPeople:
    """PeopleStore."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._users = connection.collection(USERS)
        self._tokens = connection.collection(TOKENS)
        self._audit = connection.collection(AUDIT)

    def identify(self, digest: str, at: float) -> Identity | None:
        """See PeopleStore."""
        with self._connection.reading("look for a token"):
            stored = self._tokens.find_one({"_id": digest})
            if stored is None or (stored.get("expires_at") or at + 1) <= at:
                return None
            node = stored.get("role") == EXECUTOR
            user = None if node else self._users.find_one({"_id": _user_of(stored)})
        role = user["role"] if user else stored.get("role")
        if not role:
            return None
        return Identity(
            user=_user_of(stored),
            role=role,
            token_id=token_id(digest),
            quota=_typed(user["quota"], Quota) if user else Quota(),
            expires_at=stored.get("expires_at"),
        )

    def touch_token(self, digest: str, at: float) -> None:
        """See PeopleStore."""
        late = {"_id": digest, "last_used_at": {"$not": {"$gt": at - people.TOUCH_EVERY_S}}}
        with self._connection.writing("note a token's use"):
            self._tokens.update_one(late, {"$set": {"last_used_at": at}})

    def put_user(
        self, name: str, role: str, quota: Quota | None, at: float, *, create_only: bool = False
    ) -> UserView:
        """See PeopleStore."""
        change: Document = {} if not role else {"role": role}
        if quota is not None:
            change["quota"] = _plain(quota)
        new = {"role": role, "quota": _plain(quota or Quota()), "created_at": at}
        if create_only:
            update: Document = {"$setOnInsert": new}
        else:
            fresh = {key: value for key, value in new.items() if key not in change}
            update = {"$set": change, "$setOnInsert": fresh} if change else {"$setOnInsert": new}
        with self._connection.writing("store a user"):
            try:
                stored = self._users.find_one_and_update(
                    {"_id": name}, update, upsert=bool(role), return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError:  # made by another in the same moment
                stored = self._users.find_one({"_id": name})
        if stored is None:
            raise people.no_user(name)
        view = _user_view(stored)
        if create_only and (view.role, view.quota) != (role, quota or Quota()):
            raise people.other_user(name)
        return view

    def users(self, name: str = "") -> Sequence[UserView]:
        """See PeopleStore."""
        with self._connection.reading("list users"):
            found = self._users.find({"_id": name} if name else {}).sort("_id", ASCENDING)
            return [_user_view(document) for document in found]

    def delete_user(self, name: str) -> UserView:
        """See PeopleStore."""
        with self._connection.writing("remove a user"):
            stored = self._users.find_one_and_delete({"_id": name})
            self._tokens.delete_many(_of_user(name))
        if stored is None:
            raise people.no_user(name)
        return _user_view(stored)

    def add_token(self, digest: str, token: TokenView) -> TokenView:
        """See PeopleStore."""
        document = _plain(token) | {"_id": digest}
        with self._connection.writing("store a token"):
            stored = self._tokens.find_one({"_id": digest})
            if stored is None:
                self._make_room(token)
                try:
                    self._tokens.insert_one(document)
                except DuplicateKeyError:
                    stored = self._tokens.find_one({"_id": digest})
        if stored is None:
            return token
        if (stored["name"], _user_of(stored)) != (token.name, token.user):
            raise people.other_token()
        return _token_view(stored)

    def _make_room(self, token: TokenView) -> None:
        """Drop what is over, or refuse."""
        if self._users.find_one({"_id": token.user}, {"_id": 1}) is None:
            raise people.no_user(token.user)
        own: Document = {"user": token.user}
        self._tokens.delete_many(own | {"expires_at": {"$lte": token.created_at}})
        if token.session:
            newest = self._tokens.find(own | {"session": True}, {"_id": 1}).sort("created_at", DESCENDING)
            late = [old["_id"] for old in newest.skip(people.MOST_SESSIONS - 1)]
            if late:
                self._tokens.delete_many({"_id": {"$in": late}})
        elif self._tokens.count_documents(own | {"session": False}) >= people.MOST_TOKENS:
            raise people.too_many_tokens(token.user)

    def tokens(self, user: str | None = None) -> Sequence[TokenView]:
        """See PeopleStore."""
        wanted = _PEOPLES if user is None else _of_user(user)
        with self._connection.reading("list tokens"):
            found = [_token_view(document) for document in self._tokens.find(wanted)]
        return sorted(found, key=lambda token: (-token.created_at, token.id))

    def revoke_token(self, id: str, user: str | None = None) -> TokenView:
        """See PeopleStore."""
        found = next((token for token in self.tokens(user) if token.id == id), None)
        if found is None:
            raise people.no_token(id)
        # The digest begins with the id, and the whole of it is compared by the index on `_id`.
        begins = {"_id": {"$gte": id, "$lt": id + "g"}}
        with self._connection.writing("revoke a token"):
            self._tokens.delete_many({"$or": [begins, {"parent": id}]})
        return found

    def usage(self, user: str) -> Usage:
        """See PeopleStore. Both are read from indexes."""
        tasks, files = self._connection.collection(TASKS), self._connection.collection(FILES)
        own: list[Document] = [
            {"$match": {"owner": user, "state": {"$in": [State.PENDING, *sorted(ACTIVE)]}}},
            {"$group": {"_id": "$state", "tasks": {"$sum": 1}}},
        ]
        stored: list[Document] = [
            {"$match": {"metadata.owner": user}},
            {"$group": {"_id": None, "bytes": {"$sum": "$length"}}},
        ]
        with self._connection.reading("look what a user has"):
            states = {row["_id"]: row["tasks"] for row in tasks.aggregate(own, hint=OWNER_INDEX)}
            sizes = [row["bytes"] for row in files.aggregate(stored)]
        return Usage(
            queued=states.get(State.PENDING.value, 0),
            running=sum(states.get(state.value, 0) for state in ACTIVE),
            stored_bytes=sum(sizes),
        )

    def running_limits(self) -> Mapping[str, int]:
        """See PeopleStore."""
        with self._connection.reading("read quotas"):
            found = self._users.find({"quota.running": {"$ne": None}})
            return people.limits_of([_user_view(document) for document in found])

    def append_audit(self, entries: Sequence[AuditEntry]) -> None:
        """See PeopleStore. A key begins with the time, so that keys sort by age."""
        documents = [
            _plain(entry) | {"_id": f"{_audit_time(entry.at)}{secrets.token_hex(4)}"} for entry in entries
        ]
        with self._connection.writing("keep the record"):
            self._audit.insert_many(documents, ordered=False)

    def read_audit(self, user: str, limit: int, page_token: str) -> AuditPage:
        """See PeopleStore."""
        if page_token and not _AUDIT_KEY.fullmatch(page_token):
            raise people.no_page()
        wanted: Document = {"_id": {"$lt": page_token}} if page_token else {}
        if user:
            wanted["user"] = user
        with self._connection.reading("read the record"):
            found = list(self._audit.find(wanted).sort("_id", DESCENDING).limit(limit + 1))
        more = found[limit - 1]["_id"] if len(found) > limit else ""
        entries = tuple(_typed(document, AuditEntry) for document in found[:limit])
        return AuditPage(entries=entries, next_page_token=more)

    def trim_audit(self, keep: int, before: float = 0.0) -> int:
        """See PeopleStore."""
        with self._connection.writing("shorten the record"):
            gone = self._audit.delete_many({"_id": {"$lt": _audit_time(before)}}).deleted_count
            last = list(self._audit.find({}, {"_id": 1}).sort("_id", DESCENDING).skip(keep).limit(1))
            if last:
                gone += self._audit.delete_many({"_id": {"$lte": last[0]["_id"]}}).deleted_count
            return gone


def _audit_time(at: float) -> str:
    return f"{int(at * 1e6):016x}"


def _of_user(name: str) -> Document:
    return _PEOPLES | {"$or": [{"user": name}, {"user": None, "name": name}]}


def _user_of(stored: Document) -> str:
    return str(stored.get("user") or stored["name"])


def _token_view(stored: Document) -> TokenView:
    return msgspec.convert(stored | {"id": token_id(stored["_id"]), "user": _user_of(stored)}, TokenView)


def _user_view(stored: Document) -> UserView:
    return msgspec.convert(stored | {"name": stored["_id"]}, UserView)


def _plain(value: object) -> Any:
    return msgspec.to_builtins(value)


def _typed(value: object, kind: Any) -> Any:
    return msgspec.convert(value, kind)
