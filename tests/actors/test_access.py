"""Judicators authorise (P17): what each role may do to its own and to another's, quotas, and the record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace

import pytest
from actors.world import Node, World
from wait import wait_until

from khala.core.access import ADMIN_MAY, MAY, OWN_DOOR, token_digest, token_id
from khala.core.commands import (
    Caller,
    CancelTasks,
    CountTasks,
    ExecutorViews,
    GetTasks,
    ListExecutors,
    Refused,
    SearchTasks,
    SubmitTasks,
)
from khala.core.people import (
    CreateToken,
    DeleteUser,
    GetMe,
    ListAudit,
    ListTokens,
    ListUsers,
    PutUser,
    Quota,
    RevokeToken,
    TokenView,
    Usage,
)
from khala.core.transfers import PutFileChunk

PEOPLE = {"root": "admin", "ann": "user", "bob": "user", "eve": "viewer"}


@dataclass
class Town:
    """A secured judicator, a caller for each person, and a task of ann's and of bob's."""

    world: World
    judicator: Node
    callers: dict[str, Caller]
    tasks: dict[str, str]

    def ask(self, who: str, command: type, **given: object) -> object:
        return self.world.ask(self.judicator, command(caller=self.callers[who], **given))


@pytest.fixture
def town(world: World) -> Town:
    judicator = world.judicator(secured=True)
    callers = {}
    for name, role in PEOPLE.items():
        world.store.put_user(name, role, None, world.clock().unix_s)
        callers[name] = person(world, name)
    tasks = {
        name: world.submit(judicator, world.new("sleep 600"), token=f"token of {name}")[0]
        for name in ("ann", "bob")
    }
    return Town(world, judicator, callers, tasks)


def person(world: World, user: str, text: str = "", expires_at: float | None = None) -> Caller:
    token = text or f"token of {user}"
    digest = token_digest(token)
    view = TokenView(id=token_id(digest), name="t", user=user, expires_at=expires_at)
    world.store.add_token(digest, view)
    return Caller(token=token)


def test_the_owner_is_whoever_the_token_names(town: Town) -> None:
    found = {task.id: task.owner for task in town.world.store.read(tuple(town.tasks.values()))}
    assert found == {town.tasks["ann"]: "ann", town.tasks["bob"]: "bob"}


def test_a_user_reaches_only_their_own_tasks(town: Town) -> None:
    both = tuple(town.tasks.values())
    for who, seen in (("ann", {"ann"}), ("bob", {"bob"}), ("eve", {"ann", "bob"}), ("root", {"ann", "bob"})):
        assert {task.owner for task in town.ask(who, GetTasks, task_ids=both).tasks} == seen
        assert {task.owner for task in town.ask(who, SearchTasks).tasks} == seen
        assert sum(town.ask(who, CountTasks).counts.values()) == len(seen)
    assert town.ask("ann", SearchTasks, owner="bob").code == "forbidden"
    assert [task.owner for task in town.ask("root", SearchTasks, owner="bob").tasks] == ["bob"]


def test_waiting_for_anothers_task_is_waiting_for_nothing(town: Town) -> None:
    assert town.ask("ann", GetTasks, task_ids=(town.tasks["bob"],), wait_s=60.0).tasks == ()


def test_a_cancel_finds_only_what_is_ones_own(town: Town) -> None:
    both = (town.tasks["ann"], town.tasks["bob"])
    answers = town.ask("ann", CancelTasks, task_ids=both).results
    assert [answer.answer for answer in answers] == ["requested", "not_found"]
    assert not town.world.store.read([both[1]])[0].control.cancel_requested
    assert town.ask("eve", CancelTasks, task_ids=both).code == "forbidden"
    assert town.ask("root", CancelTasks, task_ids=both[1:]).results[0].answer == "requested"


def test_users_do_not_learn_what_an_executor_runs_for_others(town: Town) -> None:
    def running(who: str) -> list[tuple[str, ...]]:
        answer = town.ask(who, ListExecutors)
        assert isinstance(answer, ExecutorViews) and answer.executors
        return [executor.running for executor in answer.executors]

    town.world.executor()
    wait_until(lambda: any(running("root")), what="a task to run")
    assert not any(running("ann"))


@pytest.mark.parametrize("who", ["ann", "eve"])
@pytest.mark.parametrize(
    "command",
    [
        PutUser(name="x", role="admin"),
        ListUsers(),
        DeleteUser(name="bob"),
        ListAudit(),
        CreateToken(digest="0" * 64, name="x", user="root"),
        RevokeToken(id="0" * 16, owner="root"),
        ListTokens(owner="root"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_the_administrators_is_refused_to_others(town: Town, who: str, command: object) -> None:
    given = {field.name: getattr(command, field.name) for field in fields(command) if field.name != "caller"}
    assert town.ask(who, type(command), **given).code == "forbidden"
    assert [user.name for user in town.world.store.users()] == sorted(PEOPLE)


def test_every_command_upon_tasks_is_narrowed_by_owner() -> None:
    """A new command without an `owner` must be one that reaches no task of others."""
    unowned = {command.__name__ for command in ADMIN_MAY if "owner" not in {f.name for f in fields(command)}}
    assert unowned == {
        "Ping", "SubmitTasks", "CreateJob", "PutFileChunk", "GetFileChunk", "ListExecutors", "ListJudicators",
        "GetMe", "CreateToken", "PutUser", "ListUsers", "DeleteUser", "ListAudit",
        "DrainExecutor", "GetMetrics",
        "RemoveJudicator",
    }  # fmt: skip
    assert all(MAY[role] >= OWN_DOOR for role in ("admin", "user", "viewer"))


def test_people_make_list_and_revoke_their_own_tokens(town: Town) -> None:
    digest = token_digest("second")
    (made,) = town.ask("ann", CreateToken, digest=digest, name="laptop").tokens
    assert (made.user, made.name, made.id) == ("ann", "laptop", token_id(digest))
    town.callers["ann too"] = Caller(token="second")
    assert town.ask("ann too", GetMe).user.name == "ann"
    assert {token.name for token in town.ask("ann", ListTokens).tokens} == {"t", "laptop"}
    assert {token.user for token in town.ask("root", ListTokens).tokens} == set(PEOPLE)
    assert town.ask("bob", RevokeToken, id=made.id).code == "not_found"
    assert town.ask("ann", RevokeToken, id=made.id).tokens[0].id == made.id
    wait_until(lambda: isinstance(town.ask("ann too", GetMe), Refused), what="the token to be forgotten")
    assert town.ask("ann", GetMe).user.name == "ann"


def test_a_session_ends_before_its_token_does_and_by_itself(town: Town) -> None:
    now = town.world.clock().unix_s
    town.callers["short"] = person(town.world, "bob", "short", expires_at=now + 100)
    (session,) = town.ask("short", CreateToken, digest=token_digest("s"), name="web", session=True).tokens
    assert session.expires_at == now + 100 and session.parent == token_id(token_digest("short"))
    town.callers["session"] = Caller(token="s")
    assert town.ask("session", GetMe).token.session
    town.callers["late"] = person(town.world, "bob", "late", expires_at=now - 1)
    assert town.ask("late", GetMe).code == "unauthorized"
    assert town.ask("session", RevokeToken).tokens[0].id == session.id
    wait_until(lambda: isinstance(town.ask("session", GetMe), Refused), what="the session to be over")


def test_a_new_role_counts_at_once_and_nobody_locks_themselves_out(town: Town) -> None:
    assert town.ask("bob", ListUsers).code == "forbidden"
    assert town.ask("root", PutUser, name="bob", role="admin").users[0].role == "admin"
    wait_until(lambda: not isinstance(town.ask("bob", ListUsers), Refused), what="the new role")
    assert town.ask("bob", PutUser, name="bob", role="user").code == "conflict"
    assert town.ask("bob", DeleteUser, name="bob").code == "conflict"
    assert town.ask("bob", DeleteUser, name="root").users[0].name == "root"
    wait_until(lambda: isinstance(town.ask("root", GetMe), Refused), what="root to be gone")


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "é", "a/b", "a\0"])
def test_a_users_name_is_plain(town: Town, name: str) -> None:
    assert town.ask("root", PutUser, name=name, role="user").field == "name"


def test_a_full_queue_refuses_what_is_new_and_knows_what_is_stored(town: Town) -> None:
    world = town.world
    town.ask("root", PutUser, name="ann", quota=Quota(queued=3))
    tasks = tuple(replace(world.new("sleep 600"), request_digest="d") for _ in range(4))
    answers: list[str] = []

    def submitted() -> bool:
        nonlocal answers
        reply = town.ask("ann", SubmitTasks, tasks=tasks)
        answers = [result.error_code for result in reply.results]
        return "too_many_requests" in answers

    wait_until(submitted, what="the quota to count")
    assert answers == ["", "", "too_many_requests", "too_many_requests"]
    again = town.ask("ann", SubmitTasks, tasks=tasks[:3]).results
    assert [result.error_code for result in again] == ["", "", "too_many_requests"]
    assert town.ask("ann", GetMe).user.usage == Usage(queued=3)
    assert town.ask("bob", SubmitTasks, tasks=(world.new(),)).results[0].error_code == ""


def test_a_full_store_refuses_another_file(town: Town) -> None:
    town.world.store.put_user("ann", "user", Quota(stored_bytes=5), 0.0)

    def put(content: bytes) -> object:
        sha256 = hashlib.sha256(content).hexdigest()
        chunk = {"sha256": sha256, "size": len(content), "offset": 0, "data": content}
        return town.ask("ann", PutFileChunk, upload_id=sha256, **chunk)

    town.world.advance(11)
    assert put(b"abcd").complete
    assert put(b"ef").code == "quota_exceeded"
    assert put(b"abcd").complete
    assert town.ask("ann", GetMe).user.usage.stored_bytes == 4


def test_the_record_says_who_asked_for_what(town: Town) -> None:
    town.ask("ann", CancelTasks, task_ids=(town.tasks["ann"],))
    town.ask("root", PutUser, name="new", role="viewer")
    town.ask("root", CreateToken, digest=token_digest("n"), name="key", user="new")

    def record() -> list[tuple[str, str, str]]:
        entries = town.ask("root", ListAudit).entries
        return [(entry.user, entry.action, entry.target) for entry in entries]

    expected = [
        ("root", "tokens.create", token_id(token_digest("n"))),
        ("root", "users.put", "new"),
        ("ann", "tasks.cancel", town.tasks["ann"]),
    ]
    wait_until(lambda: record() == expected, what="the record")
    assert [entry.user for entry in town.ask("root", ListAudit, user="ann").entries] == ["ann"]


def test_an_open_cluster_is_everybodys(world: World) -> None:
    judicator = world.judicator()
    (id,) = world.submit(judicator, world.new())
    assert world.store.read([id])[0].owner == ""
    me = world.ask(judicator, GetMe())
    assert (me.user.name, me.user.role, me.token) == ("", "admin", None)
