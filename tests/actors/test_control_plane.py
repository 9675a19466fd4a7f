"""The leader keeps replica set, etcd and register equal; what the front doors say of that."""

from __future__ import annotations

from actors.world import Node, World
from wait import wait_until

from khala.actors.replica_set import ELECTED_WITHIN_S
from khala.core.commands import (
    JudicatorRemoval,
    JudicatorView,
    JudicatorViews,
    ListJudicators,
    NotAvailable,
    Ping,
    Refused,
    RemoveJudicator,
    SubmitTasks,
)
from khala.core.membership import SetMember


def shown(world: World, node: Node) -> dict[str, JudicatorView]:
    answer: JudicatorViews = world.ask(node, ListJudicators())
    return {view.name: view for view in answer.judicators}


def state_of(world: World, node: Node, name: str) -> str | None:
    view = shown(world, node).get(name)
    return view.replica_state if view is not None else None


def grown(world: World, count: int) -> list[Node]:
    """So many judicators, all in the replica set; the first leads."""
    world.replica_set.now = [SetMember(host="j1:3000", state="primary")]
    nodes = [world.judicator() for _ in range(count)]
    hosts = {f"{node.name}:3000" for node in nodes}

    def whole() -> bool:
        return {member.host for member in world.replica_set.now if member.voting} == hosts

    wait_until(whole, what="every vote")
    return nodes


def test_what_the_front_door_says_of_the_replica_set(world: World) -> None:
    (node,) = grown(world, 1)
    wait_until(lambda: state_of(world, node, "j1") == "primary", what="the member")
    assert wait_until(lambda: world.ask(node, Ping()).ready)
    world.replica_set.primary = False
    wait_until(lambda: not world.ask(node, Ping()).ready, what="not ready without a primary")
    assert state_of(world, node, "j1") == ""


def test_without_a_majority_submits_are_refused_at_once_and_nobody_is_left_in_doubt(world: World) -> None:
    """But not while a new primary may just be being elected: those writes wait in the store."""
    (node,) = grown(world, 1)
    world.replica_set.primary = False
    wait_until(lambda: not world.ask(node, Ping()).ready, what="not ready without a primary")
    world.submit(node, world.new())
    world.advance(ELECTED_WITHIN_S + 1.0)
    refusal = NotAvailable(detail="tasks cannot be stored now: no primary")
    wait_until(lambda: world.ask(node, SubmitTasks(tasks=(world.new(),))) == refusal, what="a refusal")
    world.trouble.hold("insert")
    assert world.ask(node, SubmitTasks(tasks=(world.new(),))) == refusal
    world.trouble.let_go("insert")
    world.replica_set.primary = True
    wait_until(lambda: world.ask(node, Ping()).ready, what="a primary again")
    world.submit(node, world.new())


def test_new_judicators_are_brought_into_the_replica_set_and_every_door_knows_the_epoch(world: World) -> None:
    leader, follower, _ = grown(world, 3)

    def agree() -> bool:
        answers = [world.ask(node, ListJudicators()) for node in (leader, follower)]
        return answers[0] == answers[1] and answers[0].epoch.number > 0

    wait_until(agree, what="the same answer by leader and follower")


def test_a_judicator_is_removed_from_everything_and_told(world: World) -> None:
    nodes = grown(world, 3)
    answer = world.ask(nodes[1], RemoveJudicator(name="j3"))
    assert answer == JudicatorRemoval(name="j3")
    wait_until(nodes[2].removed.is_set, what="that it knows")
    wait_until(lambda: set(shown(world, nodes[0])) == {"j1", "j2"}, what="that the first one knows too")
    assert world.etcd.names() == ["j1", "j2"]
    assert {member.host for member in world.replica_set.now} == {"j1:3000", "j2:3000"}


def test_a_leader_and_primary_that_is_removed_hands_both_over(world: World) -> None:
    nodes = grown(world, 3)
    assert isinstance(world.ask(nodes[0], RemoveJudicator(name="j1")), JudicatorRemoval)
    wait_until(nodes[0].removed.is_set, what="that it knows")
    (primary,) = [member.host for member in world.replica_set.now if member.state == "primary"]
    assert primary in ("j2:3000", "j3:3000")
    wait_until(lambda: state_of(world, nodes[1], primary[:2]) == "primary", what="the new primary")


def test_a_removal_that_does_harm_is_refused(world: World) -> None:
    nodes = grown(world, 3)
    assert world.ask(nodes[0], RemoveJudicator(name="j9")).code == "not_found"
    world.hub.lose(nodes[2].coordination)
    world.advance(4.0)
    wait_until(lambda: not shown(world, nodes[0])["j3"].live, what="the loss")
    refused = world.ask(nodes[0], RemoveJudicator(name="j2"))
    assert isinstance(refused, Refused)
    assert refused.code == "conflict"
    assert "only 1 of the other 2 judicators live" in refused.detail
    assert isinstance(world.ask(nodes[0], RemoveJudicator(name="j3")), JudicatorRemoval)
    wait_until(lambda: set(shown(world, nodes[0])) == {"j1", "j2"}, what="the removal of the dead one")


def test_a_registration_that_etcd_lost_is_put_back(world: World) -> None:
    nodes = grown(world, 1)
    wait_until(lambda: "j1" in shown(world, nodes[0]), what="the registration")
    nodes[0].coordination.unregister_judicator("j1")
    wait_until(lambda: "j1" in shown(world, nodes[0]), what="the registration again")
    assert not nodes[0].removed.is_set()
