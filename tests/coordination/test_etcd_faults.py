"""What only a real etcd does: die, hang, forget tokens, lose keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from coordination.worlds import CALL_S, SHORT_S, EtcdWorld, Seen, a_member
from services.processes import free_ports
from wait import wait_until

from khala.coordination.etcd import EtcdCoordination
from khala.coordination.etcd_client import EtcdClient
from khala.coordination.etcd_keys import LEADER, kv2_key, member_key
from khala.coordination.etcd_settings import EtcdSettings, address_of
from khala.coordination.interface import Registration
from khala.errors import ConfigurationError, Unavailable


def values_of(world: EtcdWorld) -> dict[str, str]:
    client = EtcdClient(address_of(world.endpoint), secret=world.secret, timeout_s=CALL_S)
    try:
        return {entry.key: entry.value for entry in client.read_below("/")}
    finally:
        client.close()


def done(call: Callable[[], object]) -> bool:
    try:
        call()
    except Unavailable:
        return False
    return True


def leading(world: EtcdWorld, **changes: float) -> EtcdCoordination:
    node = world.node(**changes)
    node.start(a_member("j1"), Seen())
    node.campaign()
    wait_until(lambda: node.leads_until() > world.now())
    return node


def test_killed_etcd_comes_back_with_members_and_leader(own_etcd: EtcdWorld) -> None:
    node, seen = leading(own_etcd, lease_ttl_s=SHORT_S), Seen()
    other = own_etcd.node()
    other.start(a_member("x1", "executor"), seen)
    other.register_judicator("j1", Registration(address="h1:4000"))
    for _ in range(2):
        own_etcd.kill()
        wait_until(lambda: node.view().connected and other.view().connected)
        wait_until(lambda: node.leads_until() > own_etcd.now())
        wait_until(lambda: other.view().leader == "j1" and len(other.view().members) == 2)
    assert other.view().registered == {"j1": Registration(address="h1:4000")}
    assert other.shared("cluster", "c1") == "c1"


def test_keys_taken_away_are_put_back(etcd_world: EtcdWorld) -> None:
    node = leading(etcd_world)
    client = EtcdClient(address_of(etcd_world.endpoint), secret=None, timeout_s=CALL_S)
    key = member_key(a_member("j1"))
    client.delete(key)
    client.delete(LEADER)
    client.put({"/khala/members/strange": "\xff not JSON"})
    wait_until(lambda: {key, LEADER} <= set(values_of(etcd_world)))
    wait_until(lambda: node.leads_until() > etcd_world.now())
    client.close()


def test_revoked_lease_is_replaced_with_all_that_hung_on_it(etcd_world: EtcdWorld) -> None:
    node = leading(etcd_world, lease_ttl_s=12.0)
    client = EtcdClient(address_of(etcd_world.endpoint), secret=None, timeout_s=CALL_S)
    (lease,) = {entry.lease for entry in client.read_below(LEADER)}
    client.revoke(lease)
    assert client.keep_alive(lease) == 0.0

    def replaced() -> bool:
        return {entry.lease for entry in client.read_below(LEADER)} not in ({lease}, set())

    wait_until(replaced)
    wait_until(lambda: node.leads_until() > etcd_world.now())
    wait_until(lambda: member_key(a_member("j1")) in values_of(etcd_world))
    client.close()


def test_live_judicators_are_found_by_kv2_programs(etcd_world: EtcdWorld) -> None:
    node = leading(etcd_world)
    assert values_of(etcd_world)[kv2_key("j1")] == "j1.example:4000"
    node.close()
    assert values_of(etcd_world) == {}


def test_changes_are_noticed_by_the_watch(etcd_world: EtcdWorld) -> None:
    """And not by the next listing, which is far away."""
    node = etcd_world.node(lease_ttl_s=600.0, relist_s=600.0)
    node.start(a_member("j1"), Seen())
    for number in range(7):
        other = etcd_world.node()
        other.start(a_member(f"x{number}", "executor"), Seen())
        wait_until(lambda: len(node.view().members) == 2, what="one more")
        other.close()
        wait_until(lambda: len(node.view().members) == 1, what="one less")


def test_dead_endpoint_is_passed_over(etcd_world: EtcdWorld) -> None:
    dead = f"127.0.0.1:{free_ports(1)[0]}"
    node, seen = etcd_world.node(endpoints=[dead, etcd_world.endpoint]), Seen()
    node.start(a_member("j1"), seen)
    assert node.view().connected
    assert not [view for view in seen.views if not view.connected]


def test_no_etcd_at_all_is_told_with_its_address() -> None:
    endpoint = f"127.0.0.1:{free_ports(1)[0]}"
    node = EtcdCoordination(EtcdSettings(endpoints=[endpoint], start_timeout_s=0.5))
    with pytest.raises(Unavailable, match=f"cannot be used at {endpoint}: "):
        node.start(a_member("j1"), Seen())
    assert not node.view().connected
    with pytest.raises(Unavailable):
        node.shared("cluster", "c1")


@pytest.mark.parametrize("endpoint", ["", "host", "host:x", "host:0", ":1", "https://host:1", "http://h:1/p"])
def test_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="write host:port"):
        EtcdCoordination(EtcdSettings(endpoints=[endpoint]))


def test_failed_connection_fails_again_in_the_same_way() -> None:
    client = EtcdClient(("127.0.0.1", free_ports(1)[0]), secret=None, timeout_s=1)
    for _ in range(3):
        with pytest.raises(Unavailable):
            client.read_below("/khala/")
        with pytest.raises(Unavailable):
            client.keep_alive(1)
    client.close()
