"""The pure parts that actors own."""

from __future__ import annotations

from dataclasses import replace

from khala.actors.backlog import Backlog, Cap
from khala.actors.messages import FinishedChecked
from khala.actors.replica_set import lags_of, peers_of, states_of, voters_of
from khala.actors.rereads import MOST_AT_ONCE, Rereads
from khala.actors.waits import CHECK_WITHIN_S, CHECKED_AT_ONCE, TASKS_MOST, Waits
from khala.bus.envelope import Envelope
from khala.coordination.interface import ClusterView, Member, Registration
from khala.core.commands import GetTasks
from khala.core.membership import Peer, SetMember


def test_rereads_ask_one_bounded_question_at_a_time() -> None:
    rereads = Rereads(within_s=15.0)
    rereads.want([str(n) for n in range(MOST_AT_ONCE + 1)], repeated=False)
    first = rereads.next(0.0)
    assert len(first) == MOST_AT_ONCE
    rereads.want(first, repeated=True)
    assert rereads.next(1.0) == ()
    rereads.answered(first)
    assert rereads.next(1.0) == (str(MOST_AT_ONCE),)
    rereads.failed(2.0)
    assert rereads.next(1.5) == ()
    assert rereads.next(2.0) == (str(MOST_AT_ONCE),), "a failed question is asked again"
    assert rereads.next(17.0) == (str(MOST_AT_ONCE),), "and so is one without an answer"


def test_a_wish_that_came_while_its_question_was_under_way_is_asked_after_it() -> None:
    rereads = Rereads(within_s=15.0)
    rereads.want(["a"], repeated=False)
    assert rereads.next(0.0) == ("a",)
    rereads.want(["a"], repeated=False)
    rereads.answered(("a",))
    assert rereads.next(0.0) == ("a",)


def wait_for(waits: Waits, *task_ids: str, wait_s: float = 100.0) -> bool:
    get = GetTasks(task_ids=task_ids, wait_s=wait_s)
    envelope = Envelope(id=task_ids[0], sender="rpc/x", destination="j/judicator", payload=get)
    return waits.begin(get, envelope, 0.0)


def test_every_wait_is_looked_at_in_turn() -> None:
    waits = Waits()
    for number in range(3 * CHECKED_AT_ONCE):
        assert wait_for(waits, str(number))
    seen: set[str] = set()
    for turn in range(3):
        check = waits.check_again(float(turn))
        assert check is not None and len(check.task_ids) == CHECKED_AT_ONCE
        assert waits.check_again(float(turn)) is None, "the answer is due"
        seen.update(check.task_ids)
        waits.checked(FinishedChecked((), check.round))
    assert len(seen) == 3 * CHECKED_AT_ONCE
    assert waits.check_again(3.0) is not None
    assert waits.check_again(3.0 + CHECK_WITHIN_S) is not None, "the answer never came"


def test_waits_are_bounded_and_the_bound_is_given_back() -> None:
    waits = Waits()
    some = tuple(str(number) for number in range(TASKS_MOST))
    assert wait_for(waits, *some)
    assert not wait_for(waits, "one more")
    assert [envelope.id for envelope in waits.finished(some)] == ["0"]
    assert wait_for(waits, "one more", wait_s=1.0)
    assert len(waits.expired(1.0)) == 1
    assert not waits.end_all()


def test_a_backlog_takes_what_fits_and_anything_when_idle() -> None:
    backlog = Backlog({"a": Cap(items=10, size_bytes=100)})
    assert backlog.take("a", 50, 5)
    assert not backlog.take("a", 1, 1)
    backlog.give_back("a", 50, 5)
    assert backlog.take("a", 1, 90)
    assert not backlog.take("a", 1, 20)
    backlog.reset("a")
    backlog.give_back("a", 1, 90)
    assert backlog.take("a", 10, 100)


def test_members_and_judicators_are_matched_by_what_they_say_and_then_by_the_register() -> None:
    def judicator(name: str, **details: str) -> tuple[tuple[str, str], Member]:
        return ("judicator", name), Member(name=name, role="judicator", incarnation="1", details=details)

    registered = {name: Registration(address="h:4000", mongod=f"{name}:3000") for name in ("a", "b", "c")}
    registered["c"] = replace(registered["c"], leaving=True)
    live = [judicator("a", mongod="a:3001"), judicator("c", stopping="yes"), judicator("x", mongod="x:3000")]
    view = ClusterView(members=dict(live), registered=registered)
    assert peers_of(view, {"b": 5.0}) == [
        Peer(name="a", mongod="a:3001"),
        Peer(name="b", mongod="b:3000", live=False, missing_s=5.0),
        Peer(name="c", mongod="c:3000", leaving=True, stopping=True),
        Peer(name="x", mongod="x:3000", registered=False),
    ]
    hosts = {"a:3001": "primary", "b:3000": "down", "x:3000": "secondary"}
    members = [SetMember(host=h, state=s, healthy=s != "down", lag_s=2.0) for h, s in hosts.items()]
    assert states_of(members, view) == {"a": "primary", "b": "down", "c": "absent"}
    assert voters_of(members, view) == {"a", "b"}
    assert voters_of([replace(members[0], voting=False), *members[1:]], view) == {"b"}
    assert voters_of([replace(member, settled=False) for member in members], view) == set()
    assert lags_of(members, view) == {"a": 2.0}, "what is down or no member is not told as behind"
