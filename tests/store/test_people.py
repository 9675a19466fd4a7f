"""The contract of users, their tokens, their usage and the record."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from store.samples import task

from khala.core.access import token_digest, token_id
from khala.core.commands import SearchTasks
from khala.core.people import AuditEntry, Quota, TokenView, Usage
from khala.errors import Refusal
from khala.store import people

NOW = 1_800_000_000.0


def add(store: Any, text: str, user: str, **fields: Any) -> str:
    digest = token_digest(text)
    view = TokenView(**{"id": token_id(digest), "name": text, "user": user, "created_at": NOW} | fields)
    assert store.add_token(digest, view) == view
    return digest


def refused(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(Refusal) as refusal:
        call(*arguments, **options)
    return refusal.value.code


def test_a_token_stands_for_its_user_with_the_users_role_and_quota(store: Any) -> None:
    store.put_user("ann", "user", Quota(queued=5), NOW)
    digest = add(store, "t", "ann")
    who = store.identify(digest, NOW)
    assert (who.user, who.role, who.token_id, who.quota) == ("ann", "user", token_id(digest), Quota(queued=5))
    store.put_user("ann", "viewer", None, NOW + 1)
    assert (store.identify(digest, NOW).role, store.identify(digest, NOW).quota) == (
        "viewer",
        Quota(queued=5),
    )
    assert store.identify(token_digest("other"), NOW) is None


def test_a_user_is_made_once_changed_and_taken_away_with_all_tokens(store: Any) -> None:
    assert refused(store.put_user, "ann", "", None, NOW) == "not_found"
    made = store.put_user("ann", "user", None, NOW, create_only=True)
    assert store.put_user("ann", "user", None, NOW + 9, create_only=True) == made
    assert refused(store.put_user, "ann", "admin", None, NOW, create_only=True) == "conflict"
    changed = store.put_user("ann", "", Quota(running=1), NOW + 5)
    assert (changed.role, changed.quota, changed.created_at) == ("user", Quota(running=1), NOW)
    store.put_user("bob", "admin", None, NOW)
    assert [user.name for user in store.users()] == ["ann", "bob"]
    assert store.users("ann") == [changed]
    first, second = add(store, "a", "ann"), add(store, "b", "bob")
    assert store.delete_user("ann") == changed
    assert (store.identify(first, NOW), store.identify(second, NOW).user) == (None, "bob")
    assert refused(store.delete_user, "ann") == "not_found"
    assert refused(store.add_token, first, TokenView(id="x", name="a", user="ann")) == "not_found"


def test_an_expired_token_opens_nothing_and_goes_with_the_next_one(store: Any) -> None:
    store.put_user("ann", "user", None, NOW)
    digest = add(store, "old", "ann", expires_at=NOW + 10)
    assert store.identify(digest, NOW + 9.9).expires_at == NOW + 10
    assert store.identify(digest, NOW + 10) is None
    add(store, "new", "ann", created_at=NOW + 20)
    assert [token.name for token in store.tokens("ann")] == ["new"]


def test_storing_a_token_again_is_harmless_and_another_with_its_digest_a_conflict(store: Any) -> None:
    store.put_user("ann", "user", None, NOW)
    digest = add(store, "t", "ann")
    (view,) = store.tokens()
    assert store.add_token(digest, replace(view, created_at=NOW + 5)) == view
    assert refused(store.add_token, digest, replace(view, name="u")) == "conflict"


def test_the_use_of_a_token_is_noted_to_the_minute(store: Any) -> None:
    store.put_user("ann", "user", None, NOW)
    digest = add(store, "t", "ann")
    for at, seen in ((NOW, NOW), (NOW + 59, NOW), (NOW + 61, NOW + 61)):
        store.touch_token(digest, at)
        assert store.tokens("ann")[0].last_used_at == seen
    store.touch_token(token_digest("unknown"), NOW)
    assert len(store.tokens()) == 1


def test_a_session_ends_with_the_token_that_began_it(store: Any) -> None:
    store.put_user("ann", "user", None, NOW)
    store.put_user("bob", "user", None, NOW)
    token, other = add(store, "t", "ann"), add(store, "u", "ann")
    session = add(store, "s", "ann", session=True, parent=token_id(token), created_at=NOW + 1)
    assert [view.name for view in store.tokens("ann")] == ["s", *sorted("tu", key=token_digest)]
    assert refused(store.revoke_token, token_id(token), "bob") == "not_found"
    assert store.revoke_token(token_id(token), "ann").name == "t"
    assert store.identify(session, NOW) is store.identify(token, NOW) is None
    assert store.identify(other, NOW).user == "ann"
    assert refused(store.revoke_token, token_id(token)) == "not_found"


def test_tokens_and_sessions_of_one_user_are_bounded(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "MOST_TOKENS", 2)
    monkeypatch.setattr(people, "MOST_SESSIONS", 2)
    store.put_user("ann", "user", None, NOW)
    for number in range(2):
        add(store, f"t{number}", "ann")
    more = TokenView(id="x", name="more", user="ann", created_at=NOW)
    assert refused(store.add_token, token_digest("more"), more) == "quota_exceeded"
    for number in range(4):
        add(store, f"s{number}", "ann", session=True, created_at=NOW + number)
    assert [token.name for token in store.tokens("ann") if token.session] == ["s3", "s2"]


def test_nodes_and_first_tokens_need_no_user(store: Any) -> None:
    store.create_first_token(token_digest("first"), "admin", "admin")
    store.create_token(token_digest("node"), "executors", "executor")
    assert store.identify(token_digest("first"), NOW).role == "admin"
    assert store.identify(token_digest("node"), NOW).role == "executor"
    assert [token.user for token in store.tokens()] == ["admin"]
    store.put_user("admin", "viewer", None, NOW)
    assert store.identify(token_digest("first"), NOW).role == "viewer"
    store.delete_user("admin")
    assert store.identify(token_digest("first"), NOW) is None


def test_usage_counts_what_waits_what_runs_and_what_was_uploaded(store: Any) -> None:
    mine = [replace(task(number), owner="ann") for number in range(3)]
    store.insert([*mine, replace(task(7), owner="bob")])
    for owner, content in (("ann", b"abc"), ("bob", b"abc"), ("ann", b"de"), ("", b"f")):
        store.put_file(hashlib.sha256(content).hexdigest(), len(content), iter([content]), owner)
    assert store.usage("ann") == Usage(queued=3, running=0, stored_bytes=5)
    assert store.usage("bob") == Usage(queued=1)
    assert store.usage("nobody") == Usage()


def test_lists_counts_and_cancels_can_be_one_owners(store: Any) -> None:
    store.insert([replace(task(number), owner="ann" if number % 2 else "bob") for number in range(6)])
    page = store.search(SearchTasks(owner="ann", limit=2, oldest_first=True, count_total=True))
    rest = store.search(SearchTasks(owner="ann", page_token=page.next_page_token, oldest_first=True))
    assert [found.id for found in (*page.tasks, *rest.tasks)] == [task(number).id for number in (1, 3, 5)]
    assert page.total == 3
    assert (store.counts("ann"), store.counts("nobody")) == ({"pending": 3}, {})
    asked = store.request_cancel([task(0).id, task(1).id], NOW, "ann")
    assert [found.id for found in asked] == [task(1).id]
    assert [found.control.cancel_requested for found in store.read([task(0).id, task(1).id])] == [False, True]


def test_another_users_task_is_never_a_repeat(store: Any) -> None:
    one = replace(task(1, digest="d"), owner="ann")
    answers = [store.insert([new])[0].answer for new in (one, one, replace(one, owner="bob"))]
    assert answers == ["created", "repeated", "conflict"]


def test_the_record_is_read_page_by_page_newest_first_and_shortened(store: Any) -> None:
    entries = [
        AuditEntry(
            at=NOW + number, user=f"u{number % 2}", token="t", action="tasks.cancel", target=str(number)
        )
        for number in range(7)
    ]
    store.append_audit(entries[:3])
    store.append_audit(entries[3:])
    seen, token = [], ""
    while True:
        page = store.read_audit("", 3, token)
        seen += page.entries
        token = page.next_page_token
        if not token:
            break
    assert seen == entries[::-1]
    assert [entry.target for entry in store.read_audit("u1", 10, "").entries] == ["5", "3", "1"]
    assert refused(store.read_audit, "", 3, "x") == "invalid"
    assert store.trim_audit(4) == 3
    assert store.trim_audit(4) == 0
    assert list(store.read_audit("", 10, "").entries) == entries[:2:-1]
    assert store.trim_audit(4, before=entries[5].at) == 2
    assert list(store.read_audit("", 10, "").entries) == entries[:4:-1]
