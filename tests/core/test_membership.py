"""The steps by which the control plane follows the register, and who may leave it (P19)."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from khala.core.membership import (
    MOST_VOTERS,
    PRIMARY,
    SECONDARY,
    AddMember,
    Forget,
    GiveUp,
    GiveVote,
    Hold,
    Peer,
    RemoveMember,
    SetMember,
    Step,
    StepDown,
    majority,
    next_step,
    survivable,
    why_stay,
)

AFTER_S = 600.0


def peers(names: str, **of_all: object) -> list[Peer]:
    """A peer for each letter, its mongod called like it."""
    return [replace(Peer(name=name, mongod=name), **of_all) for name in names]  # type: ignore[arg-type]


def members(names: str) -> list[SetMember]:
    """A voting member for each letter; the first is the primary."""
    return [SetMember(host=n, state=SECONDARY if place else PRIMARY) for place, n in enumerate(names)]


def step(registered: list[Peer], there: list[SetMember]) -> Step | None:
    return next_step(registered, there, give_up_after_s=AFTER_S)


@pytest.mark.parametrize(
    ("count", "decide", "survives"), [(1, 1, 0), (2, 2, 0), (3, 2, 1), (4, 3, 1), (5, 3, 2), (7, 4, 3)]
)
def test_majorities(count: int, decide: int, survives: int) -> None:
    assert majority(count) == decide
    assert survivable(count, count) == survives
    assert survivable(count, decide - 1) < 0


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcde"])
def test_nothing_to_do(names: str) -> None:
    assert step(peers(names), members(names)) is None


def test_without_a_register_nothing_is_done() -> None:
    assert step([], members("abc")) is None
    assert step(peers("a", registered=False), members("bc")) is None


def test_a_new_judicator_is_added_without_a_vote_and_votes_when_it_has_the_data() -> None:
    there = members("a")
    assert step(peers("ab"), there) == AddMember("b")
    for state, healthy, lag_s in itertools.product(
        (SECONDARY, "startup2", "recovering"), (True, False), (1, 60)
    ):
        copying = SetMember(host="b", voting=False, state=state, healthy=healthy, lag_s=lag_s)
        expected = GiveVote("b") if (state, healthy, lag_s) == (SECONDARY, True, 1) else None
        assert step(peers("ab"), [*there, copying]) == expected


def test_a_judicator_that_is_away_is_not_added() -> None:
    registered = [*peers("a"), *peers("b", live=False)]
    assert step(registered, members("a")) is None


def test_no_more_members_vote_than_may() -> None:
    names = "abcdefghi"
    there = [*members(names[:MOST_VOTERS]), *(SetMember(host=h, voting=False) for h in names[MOST_VOTERS:])]
    assert step(peers(names), there) is None


def test_who_leaves_goes_from_the_replica_set_first_and_then_from_etcd() -> None:
    registered = [*peers("ab"), *peers("c", leaving=True)]
    assert step(registered, members("abc")) == RemoveMember("c")
    assert step(registered, members("ab")) == Forget("c")


def test_a_primary_that_leaves_steps_down_first() -> None:
    registered = [*peers("a", leaving=True), *peers("bc")]
    assert step(registered, members("abc")) == StepDown("a")
    assert step(registered, members("bac")) == RemoveMember("a")


def test_secondaries_leave_before_the_primary() -> None:
    registered = [*peers("ab", leaving=True), *peers("c")]
    assert step(registered, members("abc")) == RemoveMember("b")


def test_nobody_goes_while_too_few_of_the_rest_live() -> None:
    registered = [*peers("ab"), *peers("c", leaving=True)]
    there = [*members("a"), SetMember(host="b", state="down", healthy=False), SetMember(host="c")]
    assert isinstance(step(registered, there), Hold)
    alone = [*peers("a", leaving=True)]
    assert isinstance(step(alone, members("a")), Hold)


def test_who_has_no_vote_may_always_go() -> None:
    down = SetMember(host="b", state="down", healthy=False)
    there = [*members("a"), down, SetMember(host="c"), SetMember(host="d", voting=False)]
    assert step(peers("abc"), there) == RemoveMember("d")


def test_a_member_of_nobody_is_removed_but_not_one_that_lives_unregistered() -> None:
    assert step(peers("ab"), members("abx")) == RemoveMember("x")
    assert step([*peers("ab"), *peers("x", registered=False)], members("abx")) is None


def test_a_judicator_with_a_new_address_exchanges_its_member() -> None:
    registered = [*peers("ab"), Peer(name="c", mongod="c2")]
    assert step(registered, members("abc")) == RemoveMember("c")
    assert step(registered, members("ab")) == AddMember("c2")


def test_one_that_left_and_another_that_took_its_address() -> None:
    registered = [*peers("ab"), Peer(name="old", mongod="b", leaving=True)]
    assert step(registered, members("ab")) == Forget("old")


@pytest.mark.parametrize(
    ("count", "dead", "removed"),
    [
        (1, 0, 0),
        (2, 1, 0),
        (3, 0, 0),
        (3, 1, 0),
        (4, 1, 1),
        (5, 1, 0),
        (5, 2, 2),
        (7, 1, 0),
        (7, 2, 2),
        (7, 3, 2),
    ],
)
def test_the_missing_are_removed_only_where_that_helps(count: int, dead: int, removed: int) -> None:
    names = "abcdefg"[:count]
    alive, gone = names[: count - dead], names[count - dead :]
    left = [*peers(alive), *peers(gone, live=False, missing_s=AFTER_S)]
    before = survivable(count, count - dead)
    for _ in range(removed):
        chosen = step(left, members("".join(peer.name for peer in left)))
        assert isinstance(chosen, GiveUp)
        assert chosen.judicator in gone
        left = [peer for peer in left if peer.name != chosen.judicator]
    final = step(left, members("".join(peer.name for peer in left)))
    assert final is None
    assert (survivable(len(left), count - dead) > before) == (removed > 0)


def test_the_missing_get_their_time_and_the_longest_missing_goes_first() -> None:
    early = [*peers("abc"), *peers("d", live=False, missing_s=AFTER_S - 1)]
    assert step(early, members("abcd")) is None
    both = [*peers("abc"), *peers("d", live=False, missing_s=AFTER_S), *peers("e", live=False, missing_s=900)]
    assert step(both, members("abcde")) == GiveUp("e")
    assert next_step(both, members("abcde"), give_up_after_s=0.0) is None


def test_every_growth_and_every_shrinking_arrives_with_a_majority_alive_all_the_way() -> None:
    """Carried out on a model: from any set to any other, with the primary anywhere."""
    for start, goal in itertools.product(("a", "abc", "abcde", "bcd"), ("abc", "abcde", "cde", "c", "xyz")):
        registered = [*peers("".join(n for n in start if n not in goal), leaving=True), *peers(goal)]
        there = members(start)
        for _ in range(40):
            chosen = step(registered, there)
            if chosen is None:
                break
            there, registered = carried_out(chosen, there, registered)
            voting = [member for member in there if member.voting]
            assert sum(member.state == PRIMARY for member in there) == 1
            assert len(voting) >= 1
        assert {member.host for member in there} == set(goal), (start, goal)
        assert all(member.voting for member in there)
        assert {peer.name for peer in registered} == set(goal)


def carried_out(
    chosen: Step, there: list[SetMember], registered: list[Peer]
) -> tuple[list[SetMember], list[Peer]]:
    match chosen:
        case AddMember(host):
            return [*there, SetMember(host=host, voting=False)], registered
        case GiveVote(host):
            return [replace(m, voting=m.voting or m.host == host) for m in there], registered
        case StepDown(host):
            elected = next(m.host for m in there if m.voting and m.host != host)
            return [replace(m, state=PRIMARY if m.host == elected else SECONDARY) for m in there], registered
        case RemoveMember(host):
            assert next(m for m in there if m.host == host).state != PRIMARY
            return [m for m in there if m.host != host], registered
        case Forget(name):
            return there, [peer for peer in registered if peer.name != name]
    raise AssertionError(chosen)


@pytest.mark.parametrize(
    ("live", "dead", "stopping", "leaves"),
    [
        ("a", "", "", False),
        ("ab", "", "", True),
        ("abc", "", "", True),
        ("abc", "", "b", True),
        ("abc", "", "bc", False),
        ("ab", "c", "", False),
        ("abc", "d", "", True),
        ("abc", "de", "", False),
        ("abcde", "", "bc", True),
        ("abcde", "", "bcde", False),
    ],
)
def test_who_is_told_to_stop_leaves_if_the_rest_decides_without_it(
    live: str, dead: str, stopping: str, leaves: bool
) -> None:
    registered = [*peers(live), *peers(dead, live=False)]
    registered = [replace(peer, stopping=peer.name in stopping) for peer in registered]
    assert (why_stay("a", registered) == "") == leaves


def test_those_who_leave_already_count_for_nothing_and_a_stranger_has_nothing_to_leave() -> None:
    assert why_stay("a", [*peers("a"), *peers("b", leaving=True)]) == "no other judicator stays"
    assert why_stay("x", peers("abc")) == "it is not registered"
    assert why_stay("x", [*peers("abc"), *peers("x", registered=False)]) == "it is not registered"
