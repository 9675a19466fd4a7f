"""The contract of membership and leadership, over both implementations."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from coordination.worlds import LEASE_S, SHORT_S, EtcdWorld, Seen, World, a_member

from khala.coordination.interface import ClusterView, Coordination, Member, Registration
from khala.errors import Unavailable

SOON_S = LEASE_S / 2  # not by the end of a lease: at once, or by the end of a short one
STAYS_S, OUTAGE_S = 12.0, 8.0


def started(world: World, member: Member, lease_s: float = LEASE_S) -> tuple[Coordination, Seen]:
    node, seen = world.node(lease_ttl_s=lease_s), Seen()
    node.start(member, seen)
    return node, seen


def leaders(world: World, nodes: list[Coordination]) -> list[Coordination]:
    return [node for node in nodes if node.leads_until() > world.now()]


def test_start_publishes(world: World) -> None:
    member = a_member("j1", zone="a")
    node, seen = started(world, member)
    expected = ClusterView(members={("judicator", "j1"): member}, connected=True)
    world.eventually(lambda: node.view() == expected, within_s=SOON_S, what=str(node.view()))
    world.eventually(lambda: seen.views[-1:] == [expected], within_s=SOON_S)


def test_nodes_see_each_other(world: World) -> None:
    first, seen = started(world, a_member("j1"))
    started(world, a_member("x1", "executor"))
    both = {("judicator", "j1"), ("executor", "x1")}
    world.eventually(lambda: set(first.view().members) == both, within_s=SOON_S)
    world.eventually(lambda: set(seen.views[-1].members) == both, within_s=SOON_S)


def test_update_is_seen_by_others(world: World) -> None:
    first, _ = started(world, a_member("j1"))
    member = a_member("x1", "executor", slots="2")
    other, _ = started(world, member)
    changed = replace(member, details={"slots": "3"})
    other.update(changed)
    world.eventually(lambda: first.view().members.get(("executor", "x1")) == changed, within_s=SOON_S)


def test_close_leaves_at_once(world: World) -> None:
    first, _ = started(world, a_member("j1"))
    other, _ = started(world, a_member("j2"))
    world.eventually(lambda: len(first.view().members) == 2, within_s=SOON_S)
    other.close()
    world.eventually(lambda: set(first.view().members) == {("judicator", "j1")}, within_s=SOON_S)
    other.close()


def test_lost_node_is_gone_when_its_lease_is(world: World) -> None:
    first, _ = started(world, a_member("j1"))
    other, _ = started(world, a_member("x1", "executor"), SHORT_S)
    world.eventually(lambda: len(first.view().members) == 2, within_s=SOON_S)
    lost_at = world.now()
    world.lose(other)
    world.eventually(lambda: len(first.view().members) == 1, within_s=SOON_S)
    assert world.now() - lost_at > SHORT_S / 3  # a lease, not a closed connection


def test_members_stay_beyond_a_lease(world: World) -> None:
    node, seen = started(world, a_member("j1"), STAYS_S)
    other, _ = started(world, a_member("j2"), STAYS_S)
    world.eventually(lambda: len(node.view().members) == 2, within_s=SOON_S)
    world.eventually(lambda: seen.views[-1:] == [node.view()], within_s=SOON_S)  # told after it can be seen
    until = world.now() + STAYS_S + 1
    told = len(seen.views)
    world.eventually(lambda: world.now() > until, within_s=STAYS_S + 30)
    assert len(other.view().members) == 2
    assert len(seen.views) == told


def test_restarted_node_takes_its_name_over(world: World) -> None:
    first, _ = started(world, a_member("j1"))
    old, _ = started(world, a_member("x1", "executor"), SHORT_S)
    world.lose(old)
    again = a_member("x1", "executor")
    started(world, again)
    world.eventually(lambda: first.view().members.get(("executor", "x1")) == again, within_s=SOON_S)
    until = world.now() + SHORT_S + 1.5  # etcd looks for expired leases twice a second
    world.eventually(lambda: world.now() > until, within_s=SOON_S)
    assert first.view().members.get(("executor", "x1")) == again


def test_older_process_of_a_name_does_not_take_it_back(world: World) -> None:
    old, _ = started(world, a_member("j1"), SHORT_S)
    newer = a_member("j1")
    new, _ = started(world, newer)
    world.eventually(lambda: old.view().members.get(("judicator", "j1")) == newer, within_s=SOON_S)
    until = world.now() + SHORT_S
    world.eventually(lambda: world.now() > until, within_s=SOON_S)
    assert new.view().members[("judicator", "j1")] == newer


def test_nobody_leads_without_campaigning(world: World) -> None:
    node, _ = started(world, a_member("j1"))
    node.resign()
    assert (node.leads_until(), node.view().leader) == (0.0, "")


def test_one_of_three_leads(world: World) -> None:
    nodes = [started(world, a_member(f"j{number}"))[0] for number in (1, 2, 3)]
    for node in nodes:
        node.campaign()
        node.campaign()
    world.eventually(lambda: len(leaders(world, nodes)) == 1, within_s=SOON_S)
    (leader,) = leaders(world, nodes)
    name = f"j{nodes.index(leader) + 1}"
    world.eventually(lambda: {node.view().leader for node in nodes} == {name}, within_s=SOON_S)
    assert world.now() < leader.leads_until() <= world.now() + LEASE_S
    assert [node.leads_until() for node in nodes if node is not leader] == [0.0, 0.0]


def test_leading_is_renewed(world: World) -> None:
    node, _ = started(world, a_member("j1"), SHORT_S)
    node.campaign()
    world.eventually(lambda: node.leads_until() > 0, within_s=SOON_S)
    first = node.leads_until()
    world.eventually(lambda: node.leads_until() > first, within_s=SOON_S)


def test_resigning_hands_over(world: World) -> None:
    first, _ = started(world, a_member("j1"))
    first.campaign()
    world.eventually(lambda: first.leads_until() > 0, within_s=SOON_S)
    second, _ = started(world, a_member("j2"))
    second.campaign()
    first.resign()
    assert first.leads_until() == 0.0
    world.eventually(lambda: second.leads_until() > world.now(), within_s=SOON_S)
    world.eventually(lambda: first.view().leader == "j2", within_s=SOON_S)
    first.campaign()
    second.close()
    world.eventually(lambda: first.leads_until() > world.now(), within_s=SOON_S)


def test_lost_leader_is_replaced(world: World) -> None:
    first, _ = started(world, a_member("j1"), SHORT_S)
    first.campaign()
    world.eventually(lambda: first.leads_until() > 0, within_s=SOON_S)
    second, _ = started(world, a_member("j2"))
    second.campaign()
    lost_at = world.now()
    world.lose(first)
    world.eventually(lambda: second.leads_until() > world.now(), within_s=SOON_S)
    assert world.now() - lost_at > SHORT_S / 3
    world.eventually(lambda: second.view().leader == "j2", within_s=SOON_S)


def impatient(world: World, *, lease_s: float = LEASE_S, start_s: float = 60.0) -> Coordination:
    """A node that notices soon that there is no service."""
    if isinstance(world, EtcdWorld):
        return world.node(lease_ttl_s=lease_s, call_timeout_s=1.0, start_timeout_s=start_s)
    return world.node(lease_ttl_s=lease_s)


def test_leader_without_service_runs_out(world: World) -> None:
    node, seen = impatient(world, lease_s=OUTAGE_S), Seen()
    node.start(a_member("j1"), seen)
    node.campaign()
    world.eventually(lambda: node.view().leader == "j1" and node.leads_until() > 0, within_s=SOON_S)
    world.take_away()
    try:
        over_at = world.now() + OUTAGE_S
        world.eventually(lambda: node.leads_until() <= world.now(), within_s=SOON_S)
        assert node.leads_until() <= over_at
        world.eventually(lambda: not node.view().connected, within_s=SOON_S)
        assert node.view().leader == "j1"  # the last known
        with pytest.raises(Unavailable):
            node.shared("cluster", "c2")
    finally:
        world.bring_back()
    world.eventually(lambda: node.view().connected, within_s=SOON_S)
    world.eventually(lambda: node.leads_until() > world.now(), within_s=SOON_S)

    def told() -> list[bool]:
        return [view.connected for view in seen.views if view.leader == "j1"][:3]

    world.eventually(lambda: len(told()) == 3, within_s=SOON_S)
    assert told() == [True, False, True]


def test_start_without_service_is_refused(world: World) -> None:
    node = impatient(world, start_s=1.5)
    world.take_away()
    try:
        with pytest.raises(Unavailable):
            node.start(a_member("j1"), Seen())
    finally:
        world.bring_back()


def test_a_start_that_failed_may_be_tried_again(world: World) -> None:
    node = impatient(world, start_s=8.0)
    world.take_away()
    try:
        with pytest.raises(Unavailable):
            node.start(a_member("j1"), Seen())
    finally:
        world.bring_back()

    def starts() -> bool:
        with contextlib.suppress(Unavailable):
            node.start(a_member("j1"), Seen())
            return True
        return False

    world.eventually(starts, within_s=SOON_S)
    world.eventually(lambda: node.view().connected, within_s=SOON_S)


def test_registered_judicators_outlive_their_nodes(world: World) -> None:
    first, _ = started(world, a_member("j1"))
    second, _ = started(world, a_member("j2"))
    registration = Registration(
        address="h2:4000", mongod="h2:3000", etcd="e2", etcd_client="http://h2:2001", leaving=True
    )
    second.register_judicator("j2", replace(registration, leaving=False))
    second.register_judicator("j2", registration)
    second.close()
    world.eventually(lambda: first.view().registered == {"j2": registration}, within_s=SOON_S)
    world.eventually(lambda: len(first.view().members) == 1, within_s=SOON_S)
    first.unregister_judicator("j2")
    first.unregister_judicator("j2")
    world.eventually(lambda: not first.view().registered, within_s=SOON_S)


def test_first_shared_value_stays(world: World) -> None:
    first, _ = started(world, a_member("j1"))
    second, _ = started(world, a_member("j2"))
    assert first.shared("cluster", "c1") == "c1"
    assert second.shared("cluster", "c2") == "c1"
    assert first.shared("cluster", "c3") == "c1"
    assert second.shared("other", "c2") == "c2"


def test_listener_gets_whole_views_each_different(world: World) -> None:
    node, seen = started(world, a_member("j1"))
    for number in range(3):
        started(world, a_member(f"x{number}", "executor"))
    node.campaign()
    world.eventually(lambda: len(node.view().members) == 4 and node.view().leader == "j1", within_s=SOON_S)
    world.eventually(lambda: seen.views[-1] == node.view(), within_s=SOON_S)
    assert all(a != b for a, b in zip(seen.views, seen.views[1:], strict=False))
    assert all(("judicator", "j1") in view.members and view.connected for view in seen.views)


def test_listener_may_call_back(world: World) -> None:
    node, seen = world.node(), Seen()

    def campaign_when_alone(view: ClusterView) -> None:
        seen(view)
        if not view.leader:
            node.campaign()

    node.start(a_member("j1"), campaign_when_alone)
    world.eventually(lambda: seen.views[-1].leader == "j1", within_s=SOON_S)
